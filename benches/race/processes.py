"""Programs that are run under a deadline, and what the kernel says of them: processor time and memory.

Nothing here waits without a bound. A program that works on a dead mount may not even be killed; it is left to `Mount.stop`, which
ends the mount's connection and so frees it.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
# How long a killed program may take to be gone, if it is not stuck in a dead mount.
KILL_SECONDS = 3.0


@dataclass(frozen=True)
class Ran:
    """How one program ended."""

    began: float
    """Seconds since 1970, as the access log counts."""
    ended: float
    wall_s: float
    cpu_s: float
    """User and system time of the program and of those that it waited for."""
    status: int | None
    """Exit status, negative for a signal; None if the deadline came first."""
    told: str
    """What it said on its standard error: the first line, because what follows is what came of it; of a traceback, the last."""
    stuck: bool = False
    """It could not be killed: it waits in the kernel."""

    @property
    def is_ok(self) -> bool:
        return self.status == 0


def run(command: list[str], deadline_s: float, told_to: Path, output: Path | None = None,
        environment: dict[str, str] | None = None) -> Ran:
    """Runs a program to its end, or kills it and all that it started at the deadline."""
    out = output or Path(os.devnull)
    with open(told_to, "wb") as errors, open(out, "wb") as answers:
        began, clock = time.time(), time.monotonic()
        program = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=answers, stderr=errors, env=environment,
                                   start_new_session=True)
        in_time = _ends_within(program.pid, deadline_s)
        ended, wall_s = time.time(), time.monotonic() - clock
        stuck = False
        if not in_time:
            _kill_group(program.pid)
            stuck = not _ends_within(program.pid, KILL_SECONDS)
    cpu_s, status = 0.0, None
    if not stuck:
        _, code, usage = os.wait4(program.pid, 0)
        program.returncode = os.waitstatus_to_exitcode(code)
        cpu_s = usage.ru_utime + usage.ru_stime
        status = program.returncode if in_time else None
    return Ran(began, ended, wall_s, cpu_s, status, _said(told_to), stuck)


def _ends_within(pid: int, seconds: float) -> bool:
    """Waits for a child's end without taking its status."""
    descriptor = os.pidfd_open(pid)
    try:
        waiting = select.poll()
        waiting.register(descriptor, select.POLLIN)
        return bool(waiting.poll(max(seconds, 0) * 1000))
    finally:
        os.close(descriptor)


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def _said(path: Path) -> str:
    with open(path, "rb") as file:
        lines = file.read(1 << 16).decode(errors="replace").strip().splitlines()
    if not lines:
        return ""
    return (lines[-1] if lines[0].startswith("Traceback") else lines[0])[:300]


def end(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Asks a child to end, and kills it when it does not within the time; whether it is gone."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            _kill_group(process.pid)
            try:
                process.wait(KILL_SECONDS)
            except subprocess.TimeoutExpired:
                return False
    return True


def family(pid: int) -> list[int]:
    """A process and its descendants that live."""
    found, to_ask = [], [pid]
    while to_ask:
        asked = to_ask.pop()
        found.append(asked)
        try:
            threads = list(Path(f"/proc/{asked}/task").iterdir())
        except OSError:
            continue
        for thread in threads:
            try:
                to_ask += [int(child) for child in (thread / "children").read_text().split()]
            except OSError:
                continue
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time so far of a process, of its descendants, and of those that they have waited for."""
    ticks = 0
    for member in family(pid):
        try:
            fields = Path(f"/proc/{member}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        ticks += sum(int(field) for field in fields[11:15])
    return ticks / TICKS_PER_SECOND


def forget_peak(pid: int) -> None:
    """Lets the peak of the resident memory begin anew at what it is now."""
    for member in family(pid):
        try:
            Path(f"/proc/{member}/clear_refs").write_text("5")
        except OSError:
            continue


def peak_rss_mib(pid: int) -> float:
    """The most that was resident of the largest of a process and its descendants."""
    peaks = [0]
    for member in family(pid):
        try:
            status = Path(f"/proc/{member}/status").read_text()
        except OSError:
            continue
        peaks += [int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")]
    return max(peaks) / 1024
