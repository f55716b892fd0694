"""The report: tables of what was measured, and where cosmount is not first. Pure but for writing the files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from .measuring import NEAR, OK, Cell, Summary, is_near_best
from .promises import Promise

Summaries = dict[tuple[str, str, str], Summary]

MOUNT_CPU_WORKLOADS = ("cp-in", "read-cold")
SLOW_WALL_WORKLOADS = ("cp-r-4k", "cp-r-64k", "rsync", "rsync-inplace")
# The clock of the kernel's processor times, in which nothing can be told apart.
CPU_TICK_S = 0.01


@dataclass
class Facts:
    """What is said of the run as a whole."""

    when: str
    machine: list[str]
    sizes: str
    took_s: float
    contenders: list[tuple[str, str, str]]
    """Name, version, remark."""
    own_format: set[str] = field(default_factory=set)


@dataclass
class Results:
    """All that the report is made of."""

    facts: Facts
    servers: list[str]
    titles: dict[tuple[str, str], str]
    """Of each workload by service, in the order of the report."""
    summaries: Summaries
    limits: dict[tuple[str, str], float]
    """Seconds of the direct transfer by service and workload."""
    promises: list[Promise]

    @property
    def names(self) -> list[str]:
        return [name for name, _, _ in self.facts.contenders]

    def get(self, server: str, workload: str, contender: str) -> Summary | None:
        return self.summaries.get((server, workload, contender))

    def workloads(self, server: str) -> list[str]:
        return [workload for of_server, workload in self.titles if of_server == server]


@dataclass(frozen=True)
class Standing:
    """How a contender of ours does in one thing that it should be first in."""

    what: str
    server: str
    title: str
    contender: str
    own: float | None
    """None if it failed."""
    best: float | None
    best_name: str
    best_plain: float | None
    """The best of those whose files are objects of their names."""

    @property
    def is_first(self) -> bool:
        return self.own is not None and is_near_best(self.own, [] if self.best is None else [self.best])

    @property
    def is_first_of_plain(self) -> bool:
        return self.own is not None and is_near_best(self.own, [] if self.best_plain is None else [self.best_plain])


def requests_of(cell: Cell) -> float:
    """Requests; of those who did not all do the same, for 1,000 files."""
    files = cell.figures.get("files")
    return cell.total_requests / files * 1000 if files else float(cell.total_requests)


def standings(results: Results) -> list[Standing]:
    """Everything that cosmount should be first in, for each of its contenders that took part."""
    found = []
    for server, workload in results.titles:
        is_slow = server != results.servers[0]
        found += _standing(results, "requests", server, workload, requests_of, lambda _: True)
        if workload in MOUNT_CPU_WORKLOADS and not is_slow:
            found += _standing(results, "CPU s of the mount", server, workload, lambda cell: cell.mount_cpu_s, lambda _: True)
        if workload in SLOW_WALL_WORKLOADS and is_slow:
            found += _standing(results, "wall s", server, workload, lambda cell: cell.wall_s,
                               lambda summary: summary.is_durable_at_close)
    return found


def _standing(results: Results, what: str, server: str, workload: str, figure: Callable[[Cell], float],
              counts: Callable[[Summary], bool]) -> list[Standing]:
    values: dict[str, float] = {}
    for name in results.names:
        summary = results.get(server, workload, name)
        if summary is not None and summary.is_ok and counts(summary):
            values[name] = summary.median(figure)
    others = {name: value for name, value in values.items() if not name.startswith("cosmount")}
    plain = [value for name, value in others.items() if name not in results.facts.own_format]
    best_name = min(others, key=lambda name: others[name], default="")
    took_part = [name for name in results.names if name.startswith("cosmount") and results.get(server, workload, name)]
    return [Standing(what, server, results.titles[server, workload], name, values.get(name), others.get(best_name), best_name,
                     min(plain, default=None)) for name in took_part]


def render(results: Results, plots: list[tuple[str, str]]) -> str:
    """The report as Markdown; `plots` are titles and files beside it."""
    parts = [_head(results), _verdict(results), _promises(results.promises)]
    parts += [f"![{title}]({file})\n" for title, file in plots]
    for server in results.servers:
        parts.append(_overviews(results, server))
    for server in results.servers:
        parts.append(f"## Each workload, {server}\n")
        parts += [_workload(results, server, workload) for workload in results.workloads(server)]
    return "\n".join(parts)


def _head(results: Results) -> str:
    facts = results.facts
    lines = ["# The race", "", f"{facts.when}, {facts.took_s / 60:.1f} minutes, {facts.sizes}.", ""]
    lines += [f"- {line}" for line in facts.machine]
    lines += ["", *_table(["contender", "version", ""], [list(row) for row in facts.contenders]), "", _HOW]
    return "\n".join(lines)


_HOW = """All mount buckets of one process of `cosmount serve --in-memory`, which speaks COS and S3 on one port; contenders take turns
within each round, each with a mount of its own for each scene. Figures are medians of the rounds that a row names; a contender that
fails, or takes very long, is not asked again. *Wall* is until the tool returns; *to direct* is that over what the client of
cosmount needs for the same without FUSE (`benches/transfer.rs`) in the same run. CPU is user and system time: *mount* of the
contender's processes, from the beginning until all objects are there, *tool* of the program that works on the mount. *Peak* is the
most resident memory of the mount while it worked. Requests and bytes are those of the service's access log, with what came late.
*There* is when the last object of what was written was there with its content, by the same log: at close, or so long after the tool
had returned."""


def _verdict(results: Results) -> str:
    """Where cosmount is first, or near it, and where not."""
    all_standings = standings(results)
    lines = ["## Where cosmount is first", ""]
    rows = []
    for what in ("CPU s of the mount", "requests", "wall s"):
        of_kind = [standing for standing in all_standings if standing.what == what]
        for name in dict.fromkeys(standing.contender for standing in of_kind):
            own = [standing for standing in of_kind if standing.contender == name]
            rows.append([what, name, f"{sum(one.is_first for one in own)} of {len(own)}",
                         f"{sum(one.is_first_of_plain for one in own)} of {len(own)}"])
    lines += _table(["", "contender", f"first, or within {NEAR - 1:.0%}", "the same among plain objects"], rows)
    lost = [standing for standing in all_standings if not standing.is_first]
    if lost:
        lines += ["", "Not first:", ""]
        lines += _table(["", "service", "workload", "contender", "it", "the best", "who", "best of plain objects"], [
            [one.what, one.server, one.title, one.contender, _number(one.own), _number(one.best), one.best_name,
             _number(one.best_plain)] for one in lost])
    return "\n".join([*lines, ""])


def _number(value: float | None) -> str:
    if value is None:
        return "failed, or not durable at close"
    return f"{value:,.0f}" if value == int(value) or value >= 100 else f"{value:.2f}"


def _promises(promises: list[Promise]) -> str:
    if not promises:
        return ""
    rows = [[one.what, one.measured, one.promised, "yes" if one.is_kept else "**no**"] for one in promises]
    return "\n".join(["## What cosmount promises", "", *_table(["", "measured", "promised", "kept"], rows), ""])


def _overviews(results: Results, server: str) -> str:
    """One table for each figure, workloads down and contenders across."""
    figures: list[tuple[str, Callable[[Summary, str], str], Callable[[Summary], float] | None]] = [
        ("Requests", lambda summary, _: f"{summary.median(requests_of):,.0f}", lambda summary: summary.median(requests_of)),
        ("CPU seconds of the mount", lambda summary, _: f"{summary.median(lambda cell: cell.mount_cpu_s):.2f}",
         lambda summary: summary.median(lambda cell: cell.mount_cpu_s)),
        ("Wall seconds", lambda summary, _: _wall(summary), lambda summary: summary.median(_seconds)),
        ("When it is there", lambda summary, _: _there(summary), None),
        ("Peak of the resident memory, MiB", lambda summary, _: f"{summary.median(lambda cell: cell.peak_rss_mib):.0f}",
         lambda summary: summary.median(lambda cell: cell.peak_rss_mib)),
    ]
    lines = []
    for title, shown, value in figures:
        rows = []
        for workload in results.workloads(server):
            cells = [results.get(server, workload, name) for name in results.names]
            least = min((value(cell) for cell in cells if cell and cell.is_ok), default=None) if value else None
            row = [results.titles[server, workload]]
            for cell in cells:
                text = _bad(cell) or shown(cell, workload) if cell else "-"
                is_best = value and cell and cell.is_ok and least is not None and value(cell) <= least * NEAR + 1e-9
                row.append(f"**{text}**" if is_best else text)
            if title != "When it is there" or any(text not in ("-", "") for text in row[1:]):
                rows.append(row)
        lines += [f"## {title}, {server}", "", *_table(["", *results.names], rows), ""]
    return "\n".join(lines)


def _seconds(cell: Cell) -> float:
    """Wall time; of those who did not all do the same, for 1,000 files."""
    files = cell.figures.get("files")
    return cell.wall_s / files * 1000 if files else cell.wall_s


def _wall(summary: Summary) -> str:
    files = [cell.figures["files"] for cell in summary.cells if "files" in cell.figures]
    if files:
        return f"{summary.median(_seconds):.2f} for 1,000"
    return f"{summary.median(lambda cell: cell.wall_s):.2f}"


def _bad(summary: Summary | None) -> str:
    return "" if summary is None or summary.is_ok else summary.outcome


def _there(summary: Summary) -> str:
    """The tier of durability."""
    if not summary.is_ok:
        return summary.outcome
    if summary.late_s is None:
        return f"not there when the wait ended ({summary.missing:,} missing)" if summary.missing else "-"
    return "at close" if summary.late_s == 0 else f"{summary.late_s:.2f} s later"


def _workload(results: Results, server: str, workload: str) -> str:
    rows = []
    limit = results.limits.get((server, workload))
    for name in results.names:
        summary = results.get(server, workload, name)
        if summary is None:
            continue
        if not summary.is_ok:
            rows.append([name, f"{summary.outcome}: {_escaped(summary.note)}", *[""] * 9, str(summary.rounds)])
            continue
        requests = summary.requests
        by_operation = ", ".join(f"{count} {op}" for op, count in sorted(requests.items(), key=lambda one: -one[1]))
        wall = summary.median(lambda cell: cell.wall_s)
        rows.append([name, f"{wall:.2f}", f"{wall / limit:.2f}" if limit else "-",
                     f"{summary.median(lambda cell: cell.mount_cpu_s):.2f}", f"{summary.median(lambda cell: cell.tool_cpu_s):.2f}",
                     f"{summary.median(lambda cell: cell.peak_rss_mib):.0f}", f"{sum(requests.values()):,}", by_operation,
                     _mib(summary.median(lambda cell: cell.bytes_in)), _mib(summary.median(lambda cell: cell.bytes_out)),
                     " ".join([_there(summary), *_figures(summary)]), str(summary.rounds)])
    head = ["", "wall s", "to direct", "CPU s mount", "CPU s tool", "peak MiB", "requests", "of which", "MiB up", "MiB down",
            "there", "rounds"]
    told = f" The direct transfer takes {limit:.2f} s." if limit else ""
    return "\n".join([f"### {results.titles[server, workload]}", "", f"`{workload}`.{told}", "", *_table(head, rows), ""])


def _figures(summary: Summary) -> list[str]:
    names = dict.fromkeys(name for cell in summary.cells for name in cell.figures)
    return [f"({summary.median(lambda cell: cell.figures.get(name, 0.0)):,.0f} {name})" for name in names]


def _mib(size: float) -> str:
    return f"{size / (1 << 20):.1f}" if size else "0"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    return ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head), *("| " + " | ".join(row) + " |" for row in rows)]


__all__ = ["Facts", "OK", "Results", "Standing", "render", "requests_of", "standings"]
