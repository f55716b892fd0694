"""What cosmount promises of its memory, and of how soon it answers while much is written. It alone is measured here."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from . import processes, schedule
from .contenders import Contender, Site
from .mount import Mount, forget
from .schedule import Race
from .server import Server
from .sources import MIB, Sources

WRITERS = 50
COPIES = 4
WAIT_SECONDS = 120.0
FIO_JOBS = 4


@dataclass(frozen=True)
class Promise:
    """A figure beside what was promised of it."""

    what: str
    measured: str
    promised: str
    is_kept: bool


def measure(race: Race, server: Server, contender: Contender, sources: Sources, is_quick: bool) -> list[Promise]:
    """All of them, one after the other. Raises MountFailed if there is no mount."""
    site = race.site(server, contender, contender.bucket)
    return [*_many_writers(race, site, contender, 16 if is_quick else 64), *_metadata_meanwhile(site, contender, sources, is_quick),
            *_random_reads(site, contender, server, sources, 3 if is_quick else 10)]


def _with_memory(contender: Contender, memory: str) -> Contender:
    def command(program: Path, site: Site) -> list[str]:
        return [*contender.command(program, site), "--memory", memory]
    return Contender(contender.name, contender.program, command, contender.version, contender.environment)


def _copies(source: Path, targets: list[Path]) -> list[subprocess.Popen[bytes]]:
    return [subprocess.Popen(["cp", str(source), str(target)], stderr=subprocess.DEVNULL) for target in targets]


def _wait(copies: list[subprocess.Popen[bytes]]) -> int:
    """So many have failed, or did not end in time."""
    until = time.monotonic() + WAIT_SECONDS
    failed = 0
    for copy in copies:
        try:
            failed += copy.wait(max(until - time.monotonic(), 0.1)) != 0
        except subprocess.TimeoutExpired:
            copy.kill()
            failed += 1
    return failed


def _many_writers(race: Race, site: Site, contender: Contender, mib: int) -> list[Promise]:
    source = race.place / "of-a-writer"
    source.write_bytes(os.urandom(mib * MIB))
    forget(site)
    mount = Mount(_with_memory(contender, "64MiB"), site)
    try:
        targets = [site.mount_point / f"writer-{number}" for number in range(WRITERS)]
        failed = _wait(_copies(source, targets))
        peak = processes.peak_rss_mib(mount.pid)
        told = site.kept / "errors"
        arrived = sum(processes.run(["cmp", "-s", str(source), str(target)], 20.0, told).is_ok for target in targets)
        processes.run(["rm", *map(str, targets)], 20.0, told)
    finally:
        mount.stop()
        source.unlink()
    return [
        Promise(f"{WRITERS} writers of {mib} MiB, `--memory 64MiB`: peak RSS", f"{peak:.0f} MiB", "under 160 MiB", peak < 160),
        Promise("files of theirs that arrived whole", f"{arrived} ({failed} copies failed)", f"{WRITERS}", arrived == WRITERS),
    ]


def _metadata_meanwhile(site: Site, contender: Contender, sources: Sources, is_quick: bool) -> list[Promise]:
    source = sources.edited if is_quick else sources.large
    forget(site)
    mount = Mount(contender, site)
    names, told = site.mount_point / "names", site.kept / "errors"
    taken: dict[str, list[float]] = {"ls": [], "stat": [], "mkdir": []}
    try:
        processes.run(["sh", "-c", f"mkdir {names} && for n in $(seq 20); do echo $n >{names}/$n; done"], 20.0, told)
        targets = [site.mount_point / f"copy-{number}" for number in range(COPIES)]
        copies = _copies(source, targets)
        while any(copy.poll() is None for copy in copies) and len(taken["ls"]) < 10_000:
            commands = {"ls": ["ls", "-l", str(names)], "stat": ["stat", str(names / "7")],
                        "mkdir": ["mkdir", str(names / f"new{len(taken['ls'])}")]}
            for name, command in commands.items():
                ran = processes.run(command, 20.0, told)
                taken[name].append(ran.wall_s * 1000 if ran.is_ok else float("inf"))
        failed = _wait(copies)
        processes.run(["rm", "-r", str(names), *map(str, targets)], 20.0, told)
    finally:
        mount.stop()
    size = source.stat().st_size // MIB
    return [Promise(f"{name} during {COPIES} copies of {size} MiB, median / worst ({len(ms)} tries, {failed} copies failed)",
                    f"{statistics.median(ms):.0f} / {max(ms):.0f} ms", "under 50 / 500 ms", statistics.median(ms) < 50 and max(ms) < 500)
            for name, ms in taken.items() if ms]


def _random_reads(site: Site, contender: Contender, server: Server, sources: Sources, seconds: int) -> list[Promise]:
    """Reads for some time, however many they are: how much is asked for beside them."""
    file, told = site.mount_point / "large", site.kept / "errors"
    forget(site)
    mount = Mount(contender, site)
    try:
        processes.run(["cp", str(sources.large), str(file)], WAIT_SECONDS, told)
        mount.stop()
        mount = Mount(contender, site)
        server.read_log()
        processes.run(["fio", "--name=random", f"--filename={file}", "--rw=randread", "--bs=4k",
                       f"--size={sources.sizes.large_mib}m", f"--numjobs={FIO_JOBS}", "--time_based", f"--runtime={seconds}",
                       "--thread", "--group_reporting", "--invalidate=1", "--readonly"], seconds + 20.0, told)
        answers = [line.bytes_out for line in server.read_log() if line.op == "GetObject"]
        processes.run(["rm", str(file)], 20.0, told)
    finally:
        mount.stop()
    ratio, largest = sum(answers) / (sources.sizes.large_mib * MIB), max(answers, default=0) / MIB
    return [
        Promise(f"random reads of 4 KiB for {seconds} s: bytes asked for / bytes of the file", f"{ratio:.2f}", "at most 3",
                0 < ratio <= 3),
        Promise("largest request of them", f"{largest:.2f} MiB", "at most 4 MiB", 0 < largest <= 4),
    ]


def of_transfers(race: Race, server: Server, contender: str) -> list[Promise]:
    """What is promised of large files, by what the race has measured. Promises are of 1 GiB."""
    cells = schedule.good_cells(race, server.name, contender)

    def median(workload: str, figure: str) -> float | None:
        values = [getattr(cell, figure) for cell in cells if cell.workload == workload]
        return statistics.median(values) if values else None

    def bound(what: str, value: float | None, most: float, unit: str, promised: str = "") -> Promise:
        told = "not measured" if value is None else f"{value:.2f}{unit}"
        return Promise(what, told, promised or f"at most {most:g}{unit}", value is not None and value <= most)

    def ratio(workload: str) -> float | None:
        wall, limit = median(workload, "wall_s"), race.limit(server.name, workload)
        return wall / limit if wall and limit else None
    return [
        bound("cp of 1 GiB in: CPU of the mount", median("cp-in", "mount_cpu_s"), 1.5, " s"),
        bound("cp of 1 GiB in: wall, ratio to the same without FUSE", ratio("cp-in"), 1.6, ""),
        bound("cp of 1 GiB in: CPU of the service", median("cp-in", "server_cpu_s"), 2, " s"),
        bound("cold read of 1 GiB: CPU of the mount", median("read-cold", "mount_cpu_s"), 2.4, " s", "at most 2.4 s, aim at 2.0"),
        bound("cold read of 1 GiB: wall, ratio to the same without FUSE", ratio("read-cold"), 1.5, ""),
        bound("cold read of 1 GiB: CPU of the service", median("read-cold", "server_cpu_s"), 2, " s"),
        bound("second read of 1 GiB: requests", median("read-warm", "total_requests"), 0, "", "none: the kernel has it"),
    ]
