"""What is done: scenes, which begin with a mount of their own, and the workloads in them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from .programs import installed_files, seeded_files
from .sources import FILES_OF_A_PACKAGE, LISTED_DIRECTORIES, MIB, Sources, files_below

Command = Callable[[Path], list[str]]


@dataclass(frozen=True)
class Workload:
    """One command on a mount, and what is to be seen of it."""

    name: str
    title: str
    command: Command
    """Made of the scene's directory in the mount."""
    writes: dict[str, int] = field(default_factory=dict)
    """Files that it makes or changes, by their path in that directory, with the bytes that have to be sent for them."""
    path: str = ""
    """The first step of all those paths, if it is its own."""
    is_fresh: bool = False
    """On a mount that knows nothing: made anew, with an empty cache."""
    is_settled: bool = False
    """Only when no more requests come of what was done before, because it works on the same names."""
    is_large: bool = False
    """Moves so much that the machine's memory has to be there."""
    is_measured: bool = True
    decides: str = ""
    """The workload that has failed if this one fails, which compares what it has made."""
    read_output: Callable[[str], dict[str, float]] | None = None
    """Figures of the program's own, by name; `wall_s` replaces what was measured from outside."""
    writes_made: Callable[[dict[str, float]], dict[str, int]] | None = None
    """In place of `writes`, where the program says how many."""


@dataclass(frozen=True)
class Limit:
    """What the client alone needs for the same, by benches/transfer.rs."""

    arguments: list[str]
    fields: dict[str, str]
    """The number of its answer that each workload is compared with."""


@dataclass(frozen=True)
class Scene:
    """Workloads that follow one another in one directory."""

    name: str
    workloads: list[Workload]
    limits: list[Limit] = field(default_factory=list)
    seed: Command | None = None
    """Makes the directory once for all; who reads plain objects shares it."""
    seeded: dict[str, int] = field(default_factory=dict)
    """The files that it makes, with their sizes."""
    is_removed: bool = False
    """Its files are large, and removed at its end."""
    is_once: bool = False
    """Takes its full time with each contender, and is not repeated."""


def scenes(sources: Sources) -> list[Scene]:
    """All scenes that the sizes leave something to do in, the most telling first."""
    made = [_large(sources), _small(sources), _rsync(sources), _list(sources), _tree(sources)]
    sizes = sources.sizes
    if sizes.edited_mib:
        made.append(_edit(sources))
    if sizes.cloned_files:
        made.append(_clone(sources))
    if sizes.dd_mib:
        made.append(_dd(sources))
    if sizes.packages:
        made.append(_install(sources))
    if sizes.created_files:
        made.append(_create(sources))
    return made


# Below that, the machine's memory is there anyway.
LARGE_MIB = 512


def _large(sources: Sources) -> Scene:
    size, source, reads = sources.sizes.large_mib, sources.large, sources.sizes.random_reads
    title = f"{size} MiB" if size % 1024 else f"{size // 1024} GiB"
    is_large = size >= LARGE_MIB
    at_random = sources.sizes.random_kinds if reads else ()
    limits = [Limit(["--mib", str(size)], {"cp-in": "up_wall_s", "read-cold": "read_wall_s"})]
    limits += [Limit(["--reads", str(reads), "--read-kib", str(kib), "--concurrency", str(jobs), "--mib", "256"],
                     {f"random-{kib}k-x{jobs}": "wall_s"}) for kib, jobs in at_random]
    return Scene("large", [
        Workload("cp-in", f"cp {title} in", lambda to: ["cp", str(source), f"{to}/large"], {"large": size * MIB}, "large",
                 is_large=is_large),
        Workload("read-cold", f"read {title}, cold", lambda at: ["cat", f"{at}/large"], is_fresh=True, is_large=is_large),
        Workload("read-warm", f"read {title} again, by cmp with the original", lambda at: ["cmp", str(source), f"{at}/large"]),
        *(_random_reads(reads, size, kib, jobs) for kib, jobs in at_random),
    ], limits, is_removed=True)


def _dd(sources: Sources) -> Scene:
    size = sources.sizes.dd_mib

    def name_of(block: int) -> str:
        return f"{block >> 10}k" if block < MIB else f"{block // MIB}m"

    def dd(block: int) -> Workload:
        count, name = size * MIB // block, name_of(block)
        title = f"dd bs={name} of {size} MiB"
        return Workload(f"dd-{name}", title, lambda to: ["dd", f"if={sources.large}", f"of={to}/{name}", f"bs={block}",
                        f"count={count}", "status=none"], {name: size * MIB}, name, is_large=size >= LARGE_MIB)
    blocks = sources.sizes.dd_blocks
    limit = Limit(["--mib", str(size)], {f"dd-{name_of(block)}": "up_wall_s" for block in blocks})
    return Scene("dd", [dd(block) for block in blocks], [limit], is_removed=True)


def _objects(count: int, kib: int, concurrency: int, *names: str) -> Limit:
    arguments = ["--objects", str(count), "--object-kib", str(kib), "--concurrency", str(concurrency)]
    return Limit(arguments, {name: "wall_s" for name in names})


def _small(sources: Sources) -> Scene:
    count = sources.sizes.small_files

    def copy(source: Path, name: str, kib: int) -> Workload:
        writes = {f"{name}/{file}": size for file, size in files_below(source).items()}
        return Workload(f"cp-r-{name}", f"cp -r of {count} x {kib} KiB", lambda to: ["cp", "-r", str(source), f"{to}/{name}"],
                        writes, name)
    return Scene("small", [
        copy(sources.small, "4k", 4),
        copy(sources.medium, "64k", 64),
        Workload("compare", "", lambda at: ["diff", "-r", str(sources.medium), f"{at}/64k"], is_measured=False,
                 is_fresh=True, decides="cp-r-64k"),
    ], [_objects(count, 4, 1, "cp-r-4k"), _objects(count, 64, 1, "cp-r-64k")])


def _rsync(sources: Sources) -> Scene:
    count, source = sources.sizes.synced_files, sources.synced
    files = files_below(source)

    def sync(to: Path, name: str, *options: str) -> list[str]:
        return ["rsync", "-a", *options, f"{source}/", f"{to}/{name}/"]
    return Scene("rsync", [
        Workload("rsync", f"rsync -a of {count} x 16 KiB", lambda to: sync(to, "synced"),
                 {f"synced/{file}": size for file, size in files.items()}, "synced"),
        Workload("rsync-again", "rsync -a again", lambda to: sync(to, "synced"), is_settled=True),
        Workload("rsync-remounted", "rsync -a again after a new mount", lambda to: sync(to, "synced"), is_fresh=True),
        Workload("compare", "", lambda at: ["diff", "-r", str(source), f"{at}/synced"], is_measured=False, decides="rsync"),
        Workload("rsync-inplace", f"rsync -a --inplace of {count} x 16 KiB", lambda to: sync(to, "inplace", "--inplace"),
                 {f"inplace/{file}": size for file, size in files.items()}, "inplace"),
    ], [_objects(count, 16, 1, "rsync", "rsync-inplace")])


def _list(sources: Sources) -> Scene:
    count = sources.sizes.listed_files
    each = str(count // LISTED_DIRECTORIES)
    return Scene("list", [
        Workload("ls-cold", f"ls -lR of {count} files, cold", lambda at: ["ls", "-lR", str(at)], is_fresh=True),
        Workload("ls-again", f"ls -lR of {count} files again", lambda at: ["ls", "-lR", str(at)]),
    ], seed=lambda to: _program("seed", to, str(LISTED_DIRECTORIES), each), seeded=seeded_files(LISTED_DIRECTORIES, int(each)))


def _tree(sources: Sources) -> Scene:
    count = sources.sizes.tree_files
    writes = {f"tree/{file}": size for file, size in files_below(sources.tree).items()}
    return Scene("tree", [
        Workload("tar", f"tar xf of {count} files", lambda to: ["tar", "xf", str(sources.archive), "-C", str(to)], writes, "tree"),
        Workload("compare", "", lambda at: ["diff", "-r", str(sources.tree), f"{at}/tree"], is_measured=False,
                 decides="tar"),
        Workload("rm", f"rm -r of {count} files", lambda at: ["rm", "-r", f"{at}/tree"], path="tree",
                 is_settled=True),
    ], [_objects(count, 8, 1, "tar")])


def _edit(sources: Sources) -> Scene:
    size = sources.sizes.edited_mib
    page = size * MIB // 4096 // 2
    return Scene("edit", [
        Workload("put", "", lambda to: ["cp", str(sources.edited), f"{to}/edited"], {"edited": size * MIB}, is_measured=False),
        Workload("append", f"append 1 MiB to {size} MiB", lambda at: ["dd", f"if={sources.mib}", f"of={at}/edited", "bs=1M",
                 "oflag=append", "conv=notrunc", "status=none"], {"edited": MIB}, is_fresh=True),
        Workload("edit", f"change 4 KiB in {size} MiB", lambda at: ["dd", f"if={sources.page}", f"of={at}/edited", "bs=4k",
                 f"seek={page}", "conv=notrunc", "status=none"], {"edited": 4096}, is_fresh=True),
        Workload("compare", "", lambda at: ["sh", "-c", f"cat {sources.edited} {sources.mib} >{sources.place}/wanted && "
                 f"dd if={sources.page} of={sources.place}/wanted bs=4k seek={page} conv=notrunc status=none && "
                 f"cmp {sources.place}/wanted {at}/edited"], is_measured=False, is_fresh=True, decides="edit"),
    ], is_removed=True)


def _clone(sources: Sources) -> Scene:
    files = files_below(sources.repository)
    return Scene("git", [
        Workload("git-clone", f"git clone of {len(files)} files", lambda to: ["git", "clone", "-q", f"file://{sources.repository}",
                 f"{to}/clone"], {f"clone/{file}": size for file, size in files.items()}, "clone"),
        Workload("compare", "", lambda at: ["git", "-C", f"{at}/clone", "fsck", "--strict"], is_measured=False,
                 decides="git-clone"),
    ])


def _install(sources: Sources) -> Scene:
    packages = sources.sizes.packages
    files = installed_files(packages, FILES_OF_A_PACKAGE)
    return Scene("install", [
        Workload("npm-like", f"npm-like install of {len(files)} files", lambda to: _program("install", to, str(packages),
                 str(FILES_OF_A_PACKAGE)), files, "node_modules"),
    ], [_objects(len(files), 4, 4, "npm-like")])


def _random_reads(reads: int, size_mib: int, kib: int, jobs: int) -> Workload:
    """Reads at random places of the large file, on a mount that knows nothing."""
    command = ["fio", "--name=random", "--rw=randread", f"--bs={kib}k", f"--size={size_mib}m", f"--numjobs={jobs}",
               f"--number_ios={reads // jobs}", "--thread", "--group_reporting", "--invalidate=1", "--readonly",
               "--ioengine=psync", "--randrepeat=1", "--output-format=json"]
    return Workload(f"random-{kib}k-x{jobs}", f"{reads} random reads of {kib} KiB, {jobs} at a time",
                    lambda at: [*command, f"--filename={at}/large"], is_fresh=True, read_output=_fio_figures)


def _fio_figures(text: str) -> dict[str, float]:
    """The time of the reads alone, without fio's own beginning."""
    read = json.loads(text)["jobs"][0]["read"]
    return {"wall_s": read["runtime"] / 1000, "IOPS": read["iops"]}


def _create(sources: Sources) -> Scene:
    sizes = sources.sizes
    return Scene("create", [
        Workload("create", f"create {sizes.created_files:,} files in one directory, {sizes.create_seconds:.0f} s at most",
                 lambda to: _program("create", to / "many", str(sizes.created_files), str(sizes.create_seconds)), path="many",
                 read_output=lambda text: {"files": float(text)},
                 writes_made=lambda figures: {f"many/f{number:06}": 16 for number in range(int(figures["files"]))}),
    ], is_once=True)


def _program(what: str, directory: Path, *numbers: str) -> list[str]:
    return [sys.executable, "-m", "race.programs", what, str(directory), *numbers]
