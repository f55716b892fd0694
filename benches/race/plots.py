"""What the tables say, as pictures. The only module that needs matplotlib."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot  # noqa: E402  the backend is chosen first

from .measuring import Cell  # noqa: E402
from .report import MOUNT_CPU_WORKLOADS, Results, requests_of  # noqa: E402

# The same file for the same figures.
matplotlib.rcParams["svg.hashsalt"] = "race"
matplotlib.rcParams["font.size"] = 9


def draw(results: Results, folder: Path) -> list[tuple[str, str]]:
    """Draws all pictures into a folder; their titles and names."""
    plain = results.servers[0]
    pictures = [("CPU seconds of the mount for large files", "cpu.svg", plain, list(MOUNT_CPU_WORKLOADS),
                 lambda cell: cell.mount_cpu_s, False)]
    for index, server in enumerate(results.servers):
        everything = results.workloads(server)
        pictures.append((f"Requests, {server}", f"requests-{index}.svg", server, everything, requests_of, True))
        pictures.append((f"Wall seconds, {server}; hatched: not there at close", f"wall-{index}.svg", server, everything,
                         lambda cell: cell.wall_s, True))
    drawn = []
    for title, file, server, workloads, figure, is_logarithmic in pictures:
        if _bars(results, folder / file, title, server, workloads, figure, is_logarithmic):
            drawn.append((title, file))
    return drawn


def _bars(results: Results, path: Path, title: str, server: str, workloads: list[str], figure: Callable[[Cell], float],
          is_logarithmic: bool) -> bool:
    """One group of bars for each workload, one colour for each contender; whether there was anything to draw."""
    workloads = [workload for workload in workloads if any(results.get(server, workload, name) for name in results.names)]
    if not workloads:
        return False
    height = 0.8 / len(results.names)
    chart, axes = pyplot.subplots(figsize=(9, 1.2 + len(workloads) * len(results.names) * 0.13))
    colours = pyplot.get_cmap("tab10")
    for index, name in enumerate(results.names):
        for row, workload in enumerate(workloads):
            summary = results.get(server, workload, name)
            place = row + index * height
            label = name if row == 0 else None
            if summary is None or not summary.is_ok:
                axes.barh(place, 0, height, color=colours(index), label=label)
                axes.text(axes.get_xlim()[0], place, f" {summary.outcome}" if summary else "", fontsize=6, va="center")
                continue
            value = summary.median(figure)
            is_late = bool(summary.late_s) or summary.missing > 0
            # Nothing has no logarithm: a request that was not needed is shown as a tenth of one.
            shown = max(value, 0.1 if figure is requests_of else 0.001) if is_logarithmic else value
            axes.barh(place, shown, height, color=colours(index), label=label, hatch="///" if is_late else None, edgecolor="white",
                      linewidth=0.3)
            text = f" {value:,.0f}" if value >= 100 or value == int(value) else f" {value:.2f}"
            axes.text(shown, place, text, fontsize=6, va="center")
    axes.set_yticks([row + 0.4 - height / 2 for row in range(len(workloads))],
                    [results.titles[server, workload] for workload in workloads])
    axes.invert_yaxis()
    if is_logarithmic:
        axes.set_xscale("log")
    axes.set_title(title, loc="left")
    axes.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.4, -0.02), ncols=4, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    chart.savefig(path, bbox_inches="tight", metadata={"Date": None})
    pyplot.close(chart)
    return True
