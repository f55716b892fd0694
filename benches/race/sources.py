"""The files that the race copies, made once, in memory, so that no disk is measured."""

from __future__ import annotations

import os
import random
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

MIB = 1 << 20


@dataclass(frozen=True)
class Sizes:
    """How much of each workload is done."""

    large_mib: int
    dd_mib: int
    small_files: int
    synced_files: int
    tree_files: int
    edited_mib: int
    listed_files: int
    cloned_files: int
    packages: int
    created_files: int
    create_seconds: float
    random_reads: int
    deadline_s: float
    """Of one workload, and of the wait for its objects."""
    dd_blocks: tuple[int, ...] = (4 << 10, 128 << 10, 1 << 20)
    random_kinds: tuple[tuple[int, int], ...] = ((4, 1), (4, 4), (128, 1), (128, 4))
    """KiB, and how many at a time."""


# rclone puts up to 200 MiB with one request, so that dd and edits of less would tell of that alone.
QUICK = Sizes(large_mib=1024, dd_mib=256, small_files=200, synced_files=100, tree_files=200, edited_mib=256, listed_files=1000,
              cloned_files=100, packages=10, created_files=1000, create_seconds=3, random_reads=32, deadline_s=20,
              dd_blocks=(4 << 10,), random_kinds=((4, 1), (128, 4)))
FULL = Sizes(large_mib=1024, dd_mib=256, small_files=1000, synced_files=500, tree_files=1000, edited_mib=256, listed_files=5000,
             cloned_files=300, packages=100, created_files=100_000, create_seconds=12, random_reads=200, deadline_s=45)
# With latency, where a contender that asks one thing after the other takes seconds for few files.
QUICK_SLOW = Sizes(large_mib=256, dd_mib=0, small_files=15, synced_files=6, tree_files=15, edited_mib=0, listed_files=100,
                   cloned_files=0, packages=0, created_files=0, create_seconds=0, random_reads=0, deadline_s=20)
FULL_SLOW = Sizes(large_mib=512, dd_mib=0, small_files=50, synced_files=30, tree_files=40, edited_mib=256, listed_files=500,
                  cloned_files=0, packages=0, created_files=0, create_seconds=0, random_reads=0, deadline_s=45)
FILES_OF_A_PACKAGE = 30
LISTED_DIRECTORIES = 5


class Sources:
    """Files below one folder, which are the same for every contender."""

    def __init__(self, place: Path, sizes: Sizes) -> None:
        self.place = place
        self.sizes = sizes
        place.mkdir()
        self._random = random.Random(1)
        self.large = self._file("large", sizes.large_mib * MIB)
        self.edited = self._file("edited", sizes.edited_mib * MIB)
        self.mib = self._file("mib", MIB)
        self.page = self._file("page", 4096)
        self.small = self._folder("small-4k", sizes.small_files, 4 << 10)
        self.medium = self._folder("small-64k", sizes.small_files, 64 << 10)
        self.synced = self._folder("synced", sizes.synced_files, 16 << 10)
        self.tree = self._tree(sizes.tree_files)
        self.archive = place / "tree.tar"
        with tarfile.open(self.archive, "w") as archive:
            archive.add(self.tree, "tree")
        if sizes.cloned_files:
            self.repository = self._repository(sizes.cloned_files)

    def _file(self, name: str, size: int) -> Path:
        path = self.place / name
        with open(path, "wb") as file:
            for start in range(0, size, MIB):
                file.write(self._random.randbytes(min(MIB, size - start)))
        return path

    def _folder(self, name: str, count: int, size: int) -> Path:
        (self.place / name).mkdir()
        for number in range(count):
            self._file(f"{name}/f{number:05}", size)
        return self.place / name

    def _tree(self, count: int) -> Path:
        """A tree as of a project: 20 files in a directory, 1 to 16 KiB."""
        for number in range(count):
            folder = self.place / "tree" / f"d{number // 20:03}"
            folder.mkdir(parents=True, exist_ok=True)
            self._file(f"tree/d{number // 20:03}/f{number:05}", 1024 + self._random.randrange(15 << 10))
        return self.place / "tree"

    def _repository(self, count: int) -> Path:
        """A repository whose one commit has this many files."""
        work = self.place / "repository"
        for number in range(count):
            (work / f"d{number // 20:03}").mkdir(parents=True, exist_ok=True)
            (work / f"d{number // 20:03}" / f"f{number:05}.c").write_bytes(self._random.randbytes(2000).hex().encode())
        identity = {"GIT_AUTHOR_NAME": "race", "GIT_AUTHOR_EMAIL": "race@localhost", "GIT_COMMITTER_NAME": "race",
                    "GIT_COMMITTER_EMAIL": "race@localhost", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
        for command in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "all"]):
            subprocess.run(["git", *command], cwd=work, check=True, env=os.environ | identity, timeout=60)
        return work


def files_below(folder: Path) -> dict[str, int]:
    """Files and their sizes, by their path below a folder, without git's own."""
    return {str(path.relative_to(folder)): path.stat().st_size for path in folder.rglob("*")
            if path.is_file() and ".git" not in path.parts}
