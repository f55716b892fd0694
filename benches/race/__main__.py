"""The command line of the race; `scripts/bench` has built what it needs, and calls it."""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import signal
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path

from . import plots, promises, report, schedule, sources, workloads
from .contenders import SHARED_BUCKET, Contender, installed
from .direct import BUCKET as DIRECT_BUCKET
from .measuring import summarize
from .mount import MountFailed
from .promises import Promise
from .schedule import Race, Settings
from .server import Server
from .sources import Sources

LATENCY_MS = 20


def arguments() -> argparse.Namespace:
    """What was asked for. Contenders and workloads are words with commas between them."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Lets everything that mounts buckets race on one service.")
    parser.add_argument("--quick", action="store_true", help="smaller files and fewer of them: less than 5 minutes")
    parser.add_argument("--rounds", type=int, default=3, help="how often, of which the median counts (default 3)")
    parser.add_argument("--minutes", type=float, help="begin no further round of anything after that (default 24, or 4.1 with --quick)")
    parser.add_argument("--only", default="", metavar="CONTENDER,...", help="these contenders alone")
    parser.add_argument("--workloads", default="", metavar="SCENE,...",
                        help="these scenes alone: large small rsync list tree edit git dd install create promises")
    parser.add_argument("--cosmount", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--transfer", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--tools", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--report", type=Path, required=True, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> int:
    asked = arguments()
    # So that what was begun is ended: an exception goes through every `finally`.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    contenders = [one for one in installed(asked.cosmount, asked.tools, asked.quick)
                  if not asked.only or one.name in asked.only.split(",")]
    if not contenders:
        print(f"bench: nobody is called {asked.only}", file=sys.stderr)
        return 2
    place = Path(tempfile.mkdtemp(prefix="cosmount-bench.", dir="/dev/shm"))
    try:
        results, race = run(asked, contenders, place)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    asked.report.mkdir(parents=True, exist_ok=True)
    drawn = plots.draw(results, asked.report)
    (asked.report / "report.md").write_text(report.render(results, drawn))
    (asked.report / "cells.json").write_text(json.dumps([cell.as_json() for cell in race.cells], indent=1))
    lost = [one for one in report.standings(results) if not one.is_first_of_plain]
    for one in lost:
        print(f"not first of plain objects: {one.what}, {one.server}, {one.title}: {one.contender} {one.own}, best {one.best_plain}")
    print(f"the report is {asked.report / 'report.md'}")
    return 0


def run(asked: argparse.Namespace, contenders: list[Contender], place: Path) -> tuple[report.Results, Race]:
    """The whole race, with and without latency."""
    began = time.monotonic()
    minutes = asked.minutes or (4.1 if asked.quick else 24)
    fast, slow = (sources.QUICK, sources.QUICK_SLOW) if asked.quick else (sources.FULL, sources.FULL_SLOW)
    race = Race(place, asked.transfer)
    buckets = [one.bucket for one in contenders] + [SHARED_BUCKET, DIRECT_BUCKET]
    kept: list[Promise] = []
    servers: list[Server] = []
    titles: dict[tuple[str, str], str] = {}
    plan = []
    try:
        for latency_ms, sizes in ((0, fast), (LATENCY_MS, slow)):
            server = Server(asked.cosmount, place, buckets, latency_ms)
            servers.append(server)
            made = Sources(place / f"sources-{latency_ms}", sizes)
            scenes = [one for one in workloads.scenes(made) if not asked.workloads or one.name in asked.workloads.split(",")]
            titles |= {(server.name, workload.name): workload.title for scene in scenes for workload in scene.workloads
                       if workload.is_measured}
            settings = Settings(asked.rounds, began + minutes * 60, began + minutes * 60 * 1.1, sizes.deadline_s, 12.0 if asked.quick else 20.0)
            plan.append((server, scenes, settings, made))
        for number in range(asked.rounds):
            # First what takes the least time, so that what is not begun for want of it is the least telling.
            for server, scenes, settings, made in plan if number else reversed(plan):
                schedule.run_round(race, number, server, scenes, contenders, settings)
            if number == 0 and (not asked.workloads or "promises" in asked.workloads.split(",")):
                kept = _promises(race, plan[0][0], contenders, plan[0][3], asked.quick)
    finally:
        for server in servers:
            server.stop()
    if kept:
        kept = promises.of_transfers(race, servers[0], contenders[0].name) + kept
    took_s = time.monotonic() - began
    facts = report.Facts(datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"), _machine(),
                         "quick: smaller files and fewer of them" if asked.quick else "full sizes", took_s,
                         [(one.name, one.told_version(), one.remark) for one in contenders],
                         {one.name for one in contenders if one.has_own_format})
    limits = {which: limit for which in race.limits if (limit := race.limit(*which)) is not None}
    return report.Results(facts, [server.name for server in servers], titles, summarize(race.cells), limits, kept), race


def _promises(race: Race, server: Server, contenders: list[Contender], made: Sources, is_quick: bool) -> list[Promise]:
    """Those of the first contender that is ours."""
    if not contenders[0].is_ours:
        return []
    try:
        return promises.measure(race, server, contenders[0], made, is_quick)
    except MountFailed as error:
        return [Promise("a mount", f"none: {error}", "a mount", False)]


def _machine() -> list[str]:
    """What the figures were measured on."""
    cpuinfo = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":", 1)[1].strip() for line in cpuinfo if line.startswith("model name")), platform.machine())
    cores = sum(line.startswith("processor") for line in cpuinfo)
    memory = int(Path("/proc/meminfo").read_text().split()[1]) >> 20
    return [f"{cores} cores: {model}; {memory} GiB of memory; Linux {platform.release()}",
            "the service on loopback, in memory; files, caches and databases of the contenders in /dev/shm",
            f"load of the machine at the end: {Path('/proc/loadavg').read_text().split()[0]} "
            "(others may work on it: requests tell most, CPU next, wall as ratios within a row)"]


if __name__ == "__main__":
    sys.exit(main())
