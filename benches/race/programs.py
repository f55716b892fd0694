"""What is run on a mount where no ordinary tool does just that.

    python3 -m race.programs create DIRECTORY COUNT SECONDS     files one after the other, until the time is up; prints how many
    python3 -m race.programs install DIRECTORY PACKAGES FILES   what npm does with an empty node_modules
    python3 -m race.programs seed DIRECTORY DIRECTORIES FILES   files for others to list, many at a time
"""

from __future__ import annotations

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

INSTALLERS = 4
SEEDERS = 16
SEED_BYTES = 100


def create(directory: str, count: int, seconds: float) -> None:
    """Makes files of 16 bytes with names that come in order."""
    os.makedirs(directory, exist_ok=True)
    until = time.monotonic() + seconds
    made = 0
    while made < count and time.monotonic() < until:
        _write(os.path.join(directory, f"f{made:06}"), b"sixteen bytes...")
        made += 1
    print(made)


def installed_files(packages: int, files: int) -> dict[str, int]:
    """The files that an installation makes, with their sizes: 0.5 to 8 KiB, as in most packages."""
    return {f"node_modules/package-{package}/{'lib' if file % 3 else 'dist'}/module-{file}.js": 512 + (package * 7 + file * 613) % 7680
            for package in range(packages) for file in range(files)}


def install(directory: str, packages: int, files: int) -> None:
    """Unpacks packages, several at a time: directories as they come, files by open, write and close, links at the end."""
    contents: dict[str, list[tuple[str, int]]] = {}
    for path, size in installed_files(packages, files).items():
        contents.setdefault(path.split("/")[1], []).append((path, size))

    def unpack(package: str) -> None:
        for path, size in contents[package]:
            path = os.path.join(directory, path)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            _write(path, b"x" * size)

    with ThreadPoolExecutor(INSTALLERS) as pool:
        list(pool.map(unpack, contents))
    binaries = os.path.join(directory, "node_modules", ".bin")
    os.makedirs(binaries)
    for package in list(contents)[::10]:
        os.symlink(f"../{package}/lib/module-1.js", os.path.join(binaries, package))


def seeded_files(directories: int, files: int) -> dict[str, int]:
    """The files that `seed` makes, with their sizes."""
    return {f"d{number % directories}/f{number:05}": SEED_BYTES for number in range(directories * files)}


def seed(directory: str, directories: int, files: int) -> None:
    """Makes directories of small files."""
    def fill(file: tuple[str, int]) -> None:
        _write(os.path.join(directory, file[0]), b"s" * file[1])

    for number in range(directories):
        os.makedirs(os.path.join(directory, f"d{number}"))
    with ThreadPoolExecutor(SEEDERS) as pool:
        list(pool.map(fill, seeded_files(directories, files).items()))


def _write(path: str, content: bytes) -> None:
    descriptor = os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o644)
    try:
        os.write(descriptor, content)
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    what, place, first, second = sys.argv[1:]
    if what == "create":
        create(place, int(first), float(second))
    else:
        {"install": install, "seed": seed}[what](place, int(first), int(second))
