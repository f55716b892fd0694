"""One measured workload of one contender in one round, and what several rounds make of it. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

OK, FAILED, TIMED_OUT, NOT_RUN = "ok", "failed", "timed out", "not run"
# What is within this of the best is as good: less is noise.
NEAR = 1.05


@dataclass
class Cell:
    """What was seen of one run."""

    server: str
    workload: str
    contender: str
    round: int
    outcome: str = OK
    note: str = ""
    """Why it failed, in the tool's own words."""
    wall_s: float = 0.0
    mount_cpu_s: float = 0.0
    tool_cpu_s: float = 0.0
    server_cpu_s: float = 0.0
    peak_rss_mib: float = 0.0
    requests: dict[str, int] = field(default_factory=dict)
    bytes_in: int = 0
    """Of the service, so what the contender has sent."""
    bytes_out: int = 0
    largest_answer: int = 0
    late_s: float | None = None
    """How long after the tool's end the last object was there: 0 at close; None if nothing was written, or it never came."""
    missing: int = 0
    """So many files, or bytes for a format of its own, were not there when the wait for them ended."""
    figures: dict[str, float] = field(default_factory=dict)

    @property
    def total_requests(self) -> int:
        return sum(self.requests.values())

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Summary:
    """The median of the rounds that went well, or how they did not."""

    cells: list[Cell]

    @property
    def outcome(self) -> str:
        """That of the worst round: who fails once has failed."""
        return max((cell.outcome for cell in self.cells), key=[OK, NOT_RUN, TIMED_OUT, FAILED].index)

    @property
    def is_ok(self) -> bool:
        return self.outcome == OK

    @property
    def note(self) -> str:
        return next((cell.note for cell in self.cells if cell.outcome == self.outcome and cell.note), "")

    @property
    def rounds(self) -> int:
        return len(self.cells)

    def median(self, figure: Callable[[Cell], float]) -> float:
        """Of the rounds that went well. Raises ValueError if there is none."""
        return statistics.median([figure(cell) for cell in self.cells if cell.outcome == OK])

    @property
    def requests(self) -> dict[str, int]:
        """By operation, of the round whose total is the median."""
        cells = sorted((cell for cell in self.cells if cell.outcome == OK), key=lambda cell: cell.total_requests)
        return cells[(len(cells) - 1) // 2].requests

    @property
    def late_s(self) -> float | None:
        """The longest that anything came late, because that is what somebody has to reckon with."""
        late = [cell.late_s for cell in self.cells if cell.outcome == OK]
        known = [seconds for seconds in late if seconds is not None]
        return max(known) if len(known) == len(late) and known else None

    @property
    def missing(self) -> int:
        return max(cell.missing for cell in self.cells)

    @property
    def is_durable_at_close(self) -> bool:
        return self.is_ok and self.late_s == 0


def summarize(cells: list[Cell]) -> dict[tuple[str, str, str], Summary]:
    """Rounds together, by service, workload and contender."""
    together: dict[tuple[str, str, str], list[Cell]] = {}
    for cell in cells:
        together.setdefault((cell.server, cell.workload, cell.contender), []).append(cell)
    return {which: Summary(runs) for which, runs in together.items()}


def is_near_best(own: float, others: list[float]) -> bool:
    """Whether a figure is the least, or within 5 % of it."""
    return not others or own <= min(others) * NEAR
