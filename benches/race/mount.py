"""One mount: from the command line of a contender to its process's end, with a bound on each step."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

from . import processes
from .contenders import Contender, Site

BEGIN_SECONDS = 20.0
END_SECONDS = 30.0
COMMAND_SECONDS = 10.0


class MountFailed(Exception):
    """What a contender said when it did not mount."""


def is_mounted(mount_point: Path) -> bool:
    """Asks the kernel's table and not the mount, which may be dead."""
    return any(line.split()[1] == str(mount_point) for line in Path("/proc/self/mounts").read_text().splitlines())


class Mount:
    """A mount that has begun and answers."""

    def __init__(self, contender: Contender, site: Site) -> None:
        """Mounts.

        Raises MountFailed if the program ends or is not there in time.
        """
        self._site = site
        self._told = site.kept / "told"
        environment = os.environ | contender.environment | {"HOME": str(site.kept)}
        command = contender.command(contender.program, site)
        with open(self._told, "wb") as told:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=told, stderr=told, env=environment,
                                             start_new_session=True)
        until = time.monotonic() + BEGIN_SECONDS
        while not is_mounted(site.mount_point):
            if self._process.poll() is not None or time.monotonic() > until:
                told_last = self._told.read_bytes()[-300:].decode(errors="replace").strip()
                self.stop()
                raise MountFailed(told_last or f"it did not mount within {BEGIN_SECONDS:.0f} s")
            time.sleep(0.01)
        self._wait_for_answer()

    def _wait_for_answer(self) -> None:
        """The first answer is a part of mounting, for those who ask their service only then."""
        asked = processes.run(["stat", str(self._site.mount_point)], COMMAND_SECONDS, self._site.kept / "stat")
        if not asked.is_ok:
            self.stop()
            raise MountFailed(asked.told or "the mount does not answer")

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def stop(self) -> bool:
        """Unmounts and waits until the program has ended by itself; whether it did. Afterwards nothing of it is left."""
        is_root = os.geteuid() == 0
        place, told = str(self._site.mount_point), self._site.kept / "unmount"
        if is_mounted(self._site.mount_point):
            processes.run(["umount", place] if is_root else ["fusermount3", "-u", place], COMMAND_SECONDS, told)
        by_itself = not is_mounted(self._site.mount_point)
        try:
            self._process.wait(END_SECONDS if by_itself else 0.0)
        except subprocess.TimeoutExpired:
            by_itself = False
        if not by_itself and is_mounted(self._site.mount_point):
            processes.run(["umount", "-l", place] if is_root else ["fusermount3", "-u", "-z", place], COMMAND_SECONDS, told)
        processes.end(self._process, 5.0)
        return by_itself


def site(home: Path, endpoint: str, bucket: str) -> Site:
    """An empty place for one contender on one service."""
    made = Site(endpoint, bucket, home / "mnt", home / "kept", home / "cache")
    for folder in (made.mount_point, made.kept, made.cache):
        folder.mkdir(parents=True, exist_ok=True)
    return made


def forget(site: Site) -> None:
    """Removes the cache of a contender that is not mounted, so that its next mount knows nothing."""
    shutil.rmtree(site.cache, ignore_errors=True)
    site.cache.mkdir(exist_ok=True)
