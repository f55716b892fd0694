"""Who does what when: contenders take turns within each scene and round, each scene on a mount of its own."""

from __future__ import annotations

import os
import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from . import direct, mount, processes
from .access_log import Arrival, Line, Span, Traffic, attribute
from .contenders import SHARED_BUCKET, Contender, Site
from .measuring import FAILED, NOT_RUN, OK, TIMED_OUT, Cell
from .mount import Mount, MountFailed
from .server import Server
from .workloads import Scene, Workload

# Attributes that a mount gathers leave within a second; who has asked nothing for longer has nothing left.
QUIET_SECONDS = 1.2
QUIET_WAIT_SECONDS = 10.0
POLL_SECONDS = 0.05
# A machine that is virtual gives free memory back to its host and has to find it again, in the processor time of whoever uses it
# next: as much again as a whole read. So what a measurement needs was in use a moment before.
RECALLED_MIB = 1536


@dataclass
class Settings:
    """How long and how often."""

    rounds: int
    until: float
    """When no scene is begun any more, but in the first round; by `time.monotonic`."""
    first_until: float
    """And when not in the first round either."""
    deadline_s: float
    repeat_below_s: float
    """A contender that has taken longer for a scene does it once."""


@dataclass
class Race:
    """All that was measured so far."""

    place: Path
    transfer: Path
    cells: list[Cell] = field(default_factory=list)
    limits: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    """Seconds of the direct transfer, by service and workload."""
    costs: dict[tuple[str, str, str], float] = field(default_factory=dict)
    """Seconds that a scene took a contender in the first round."""
    broken: set[tuple[str, str, str]] = field(default_factory=set)
    seeded: set[tuple[str, str]] = field(default_factory=set)
    sites: dict[tuple[str, str], Site] = field(default_factory=dict)

    def limit(self, server: str, workload: str) -> float | None:
        """The median of the direct transfer."""
        measured = self.limits.get((server, workload))
        return statistics.median(measured) if measured else None

    def site(self, server: Server, contender: Contender, bucket: str) -> Site:
        """Where a contender works on a bucket; made, and prepared, at first use.

        Raises MountFailed if it cannot be prepared.
        """
        which = (server.name, f"{contender.name}-{bucket}")
        if which not in self.sites:
            made = mount.site(self.place / f"sites-{server.latency_ms}" / which[1], server.endpoint, bucket)
            command = contender.prepare(contender.program, made)
            if command is not None:
                environment = os.environ | contender.environment
                ran = processes.run(command, mount.BEGIN_SECONDS, made.kept / "prepared", environment=environment)
                if not ran.is_ok:
                    raise MountFailed(f"{command[1]}: {ran.told or 'no end in time'}")
            self.sites[which] = made
        return self.sites[which]


def run_round(race: Race, number: int, server: Server, scenes: list[Scene], contenders: list[Contender], settings: Settings) -> None:
    """One round of all scenes. Who is first changes from scene to scene and round to round."""
    for index, scene in enumerate(scenes):
        if number and scene.is_once:
            continue
        _measure_limits(race, number, server, scene, settings)
        # What is shared is made by the first of all, whatever turn it is.
        turn = 0 if scene.seed and not number else (number + index) % len(contenders)
        for contender in contenders[turn:] + contenders[:turn]:
            which = (server.name, scene.name, contender.name)
            cost = race.costs.get(which, 0.0)
            is_too_long = cost > settings.repeat_below_s or time.monotonic() + cost > settings.until
            if number and (which in race.broken or is_too_long):
                continue
            began = time.monotonic()
            run = SceneRun(race, number, server, scene, contender, settings.deadline_s)
            cells = run.run() if began < settings.first_until else run.skip("the time of the race was over")
            race.cells += cells
            race.costs.setdefault(which, time.monotonic() - began)
            if any(cell.outcome != OK for cell in cells):
                race.broken.add(which)
            _tell(number, server, scene, contender, time.monotonic() - began, cells)


def _tell(number: int, server: Server, scene: Scene, contender: Contender, seconds: float, cells: list[Cell]) -> None:
    wrong = "; ".join(f"{cell.workload} {cell.outcome}: {cell.note}" for cell in cells if cell.outcome != OK)
    print(f"bench: round {number + 1}, {server.name}, {scene.name}: {contender.name} {seconds:.1f} s {wrong}", file=sys.stderr)


def _measure_limits(race: Race, number: int, server: Server, scene: Scene, settings: Settings) -> None:
    if number and time.monotonic() > settings.until:
        return
    for limit in scene.limits:
        if number and scene.name not in ("large", "small"):
            continue
        if scene.name == "large":
            recall_memory(race.place)
        try:
            for workload, seconds in direct.measure(race.transfer, server, limit, race.place).items():
                race.limits.setdefault((server.name, workload), []).append(seconds)
        except direct.DirectFailed as error:
            print(f"bench: {error}", file=sys.stderr)


def recall_memory(place: Path) -> None:
    """Has the machine find its memory before somebody is measured who needs it."""
    path = place / "recalled"
    zeros = bytes(1 << 20)
    with open(path, "wb") as file:
        for _ in range(RECALLED_MIB):
            file.write(zeros)
    path.unlink()


class SceneRun:
    """One scene of one contender in one round."""

    def __init__(self, race: Race, number: int, server: Server, scene: Scene, contender: Contender, deadline_s: float) -> None:
        self._race = race
        self._number = number
        self._server = server
        self._scene = scene
        self._contender = contender
        self._deadline_s = deadline_s
        is_shared = scene.seed is not None and not contender.has_own_format
        self._bucket = SHARED_BUCKET if is_shared else contender.bucket
        self._folder = scene.name if scene.seed else f"{scene.name}-{number}"
        self._lines: list[Line] = []
        self._spans: list[Span] = []
        self._cells: dict[str, Cell] = {}
        self._mount: Mount | None = None
        self._stopped: tuple[str, str] | None = None
        """What the rest comes to, and why, when nothing more is run."""

    def run(self) -> list[Cell]:
        """All its workloads; a cell for each, whatever happens."""
        self._read_log()
        try:
            self._site = self._race.site(self._server, self._contender, self._bucket)
            self._begin()
            for workload in self._scene.workloads:
                self._one(workload)
            self._end()
        except MountFailed as error:
            self._stopped = (FAILED, str(error))
        finally:
            if self._mount is not None:
                self._mount.stop()
            for workload in self._scene.workloads:
                if workload.is_measured and workload.name not in self._cells:
                    cell = self._cell(workload)
                    cell.outcome, cell.note = self._stopped or (NOT_RUN, "the race was ended")
            for cell in self._cells.values():
                cell.note = cell.note.replace(str(self._race.place), "")
        self._count()
        return list(self._cells.values())

    def skip(self, why: str) -> list[Cell]:
        """Cells for what is not begun."""
        for workload in self._scene.workloads:
            if workload.is_measured:
                cell = self._cell(workload)
                cell.outcome, cell.note = NOT_RUN, why
        return list(self._cells.values())

    def _cell(self, workload: Workload) -> Cell:
        cell = Cell(self._server.name, workload.name, self._contender.name, self._number)
        return self._cells.setdefault(workload.name, cell)

    def _read_log(self) -> list[Line]:
        new = [line for line in self._server.read_log() if line.bucket in (self._bucket, "")]
        self._lines += new
        return new

    def _begin(self) -> None:
        self._remount()
        if self._scene.seed is None:
            self._ordinary(["mkdir", str(self._directory)])
        elif (self._server.name, self._bucket) not in self._race.seeded:
            self._ordinary(self._scene.seed(self._directory))
            # Some send what they were given some time after it was closed, and lose it with their cache.
            self._wait_for_quiet()
            self._race.seeded.add((self._server.name, self._bucket))

    @property
    def _directory(self) -> Path:
        return self._site.mount_point / self._folder

    def _remount(self) -> None:
        if self._mount is not None:
            self._mount.stop()
            self._mount = None
        # What is asked for in order to mount is nobody's.
        self._spans.append(Span(f"mounting {len(self._spans)}", "", time.time()))
        mount.forget(self._site)
        self._mount = Mount(self._contender, self._site)

    def _ordinary(self, command: list[str]) -> None:
        """Runs what is not measured. Raises MountFailed if it fails."""
        ran = processes.run(command, self._deadline_s, self._site.kept / "errors")
        if not ran.is_ok:
            raise MountFailed(f"{command[0]}: {ran.told or 'no end in time'}")

    def _one(self, workload: Workload) -> None:
        if self._stopped or (workload.decides and self._number):
            return
        if workload.is_fresh:
            self._remount()
        if workload.is_settled:
            self._wait_for_quiet()
        if workload.is_large:
            recall_memory(self._race.place)
        if workload.is_measured:
            self._measure(workload)
        else:
            self._unmeasured(workload)

    def _unmeasured(self, workload: Workload) -> None:
        self._spans.append(Span(f"{workload.name} {len(self._spans)}", "", time.time()))
        ran = processes.run(workload.command(self._directory), self._deadline_s, self._site.kept / "errors")
        if ran.is_ok:
            self._wait_for(self._spans[-1].began, time.time(), workload.writes)
        elif workload.decides:
            cell = self._cells[workload.decides]
            if cell.outcome == OK:
                cell.outcome, cell.note = FAILED, f"what was written is not what is read: {ran.told or 'no end in time'}"
        else:
            raise MountFailed(f"{workload.name}: {ran.told or 'no end in time'}")

    def _measure(self, workload: Workload) -> None:
        assert self._mount is not None, "a scene begins with a mount"
        cell, pid = self._cell(workload), self._mount.pid
        processes.forget_peak(pid)
        cpu_s, server_cpu_s = processes.cpu_seconds(pid), processes.cpu_seconds(self._server.pid)
        self._spans.append(Span(workload.name, f"{self._folder}/{workload.path}" if workload.path else "", time.time()))
        output = self._site.kept / "output"
        is_read = workload.read_output is not None
        ran = processes.run(workload.command(self._directory), self._deadline_s, self._site.kept / "errors",
                            output if is_read else None)
        cell.wall_s, cell.tool_cpu_s = ran.wall_s, ran.cpu_s
        if ran.is_ok and workload.read_output is not None:
            cell.figures = workload.read_output(output.read_text())
            cell.wall_s = cell.figures.pop("wall_s", cell.wall_s)
        writes = workload.writes_made(cell.figures) if workload.writes_made and ran.is_ok else workload.writes
        if ran.is_ok and writes:
            cell.late_s, cell.missing = self._wait_for(self._spans[-1].began, ran.ended, writes)
        cell.mount_cpu_s = processes.cpu_seconds(pid) - cpu_s
        cell.server_cpu_s = processes.cpu_seconds(self._server.pid) - server_cpu_s
        cell.peak_rss_mib = processes.peak_rss_mib(pid)
        if ran.status is None:
            cell.outcome, cell.note = TIMED_OUT, f"after {self._deadline_s:.0f} s"
        elif not ran.is_ok:
            cell.outcome, cell.note = FAILED, ran.told
        if not self._mount.is_alive:
            cell.outcome, cell.note = FAILED, "the mount has ended"
        if ran.status is None or not self._mount.is_alive:
            self._stopped = (NOT_RUN, f"after {workload.name}: {cell.note}")

    def _wait_for(self, began: float, ended: float, writes: dict[str, int]) -> tuple[float | None, int]:
        """Until what was written between these times is there: how late the last of it was, and how much never came."""
        arrival = Arrival({f"{self._folder}/{file}": size for file, size in writes.items()}, self._contender.has_own_format)
        arrival.add(line for line in self._lines if line.began >= began)
        until = time.monotonic() + self._deadline_s
        while True:
            arrival.add(line for line in self._read_log() if line.began >= began)
            if arrival.is_complete:
                return max(0.0, arrival.completed_at - ended), 0
            if time.monotonic() > until:
                return None, arrival.missing
            time.sleep(POLL_SECONDS)

    def _wait_for_quiet(self) -> None:
        until = time.monotonic() + QUIET_WAIT_SECONDS
        quiet_since = time.monotonic()
        while time.monotonic() < min(until, quiet_since + QUIET_SECONDS):
            if self._read_log():
                quiet_since = time.monotonic()
            time.sleep(POLL_SECONDS)

    def _end(self) -> None:
        """Removes what is large. Who cannot has been seen to fail before; its bytes stay until the service ends."""
        if self._scene.is_removed and self._mount is not None and self._mount.is_alive:
            self._spans.append(Span("removal", self._folder, time.time()))
            processes.run(["rm", "-r", str(self._directory)], self._deadline_s, self._site.kept / "errors")
        if self._mount is not None:
            self._mount.stop()
            self._mount = None

    def _count(self) -> None:
        self._read_log()
        lines = attribute(self._lines, self._spans)
        for name, cell in self._cells.items():
            traffic = Traffic()
            traffic.add(lines.get(name, []))
            cell.requests, cell.bytes_in, cell.bytes_out = dict(traffic.requests), traffic.bytes_in, traffic.bytes_out
            cell.largest_answer = max((line.bytes_out for line in lines.get(name, [])), default=0)


def good_cells(race: Race, server: str, contender: str) -> list[Cell]:
    """What went well for one contender on one service."""
    return [cell for cell in race.cells if (cell.server, cell.contender, cell.outcome) == (server, contender, OK)]
