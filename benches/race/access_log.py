"""The service's access log: who has asked for what, and when what was written is there. Pure but for reading the file.

A line is written before the last byte of its answer leaves, so whoever has the answer finds the line.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path


@dataclass(frozen=True)
class Line:
    """One request."""

    began: float
    ended: float
    """Both in seconds since 1970."""
    op: str
    bucket: str
    key: str
    status: int
    bytes_in: int
    bytes_out: int

    @property
    def is_ok(self) -> bool:
        return 200 <= self.status < 300

    @property
    def is_write(self) -> bool:
        return self.op in WRITES


WRITES = {"PutObject", "CopyObject", "CompleteMultipartUpload", "UploadPart", "UploadPartCopy", "InitiateMultipartUpload",
          "AbortMultipartUpload", "DeleteObject", "DeleteMultipleObjects"}


def parse(text: str) -> Line:
    """One line of the log.

    Raises ValueError or KeyError for what is none.
    """
    said = json.loads(text)
    began = datetime.fromisoformat(said["time"].replace("Z", "+00:00")).timestamp()
    return Line(began, began + said["ms"] / 1000, said["op"], said["bucket"], said["key"], said["status"], said["bytes_in"],
                said["bytes_out"])


class AccessLog:
    """The file, read as it grows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = 0
        self._rest = b""

    def read_new(self) -> list[Line]:
        """What has come since the last call."""
        if not self._path.exists():
            return []
        with open(self._path, "rb") as file:
            file.seek(self._at)
            text = file.read()
        self._at += len(text)
        *whole, self._rest = (self._rest + text).split(b"\n")
        return [parse(line.decode()) for line in whole]


@dataclass
class Traffic:
    """Requests by operation, and bytes of bodies."""

    requests: Counter[str] = field(default_factory=Counter)
    bytes_in: int = 0
    bytes_out: int = 0

    def add(self, lines: Iterable[Line]) -> None:
        for line in lines:
            self.requests[line.op] += 1
            self.bytes_in += line.bytes_in
            self.bytes_out += line.bytes_out

    @property
    def total(self) -> int:
        return sum(self.requests.values())


class Arrival:
    """When all that a tool has written is there, as objects of its names or, for a format of its own, as bytes.

    An object is there with the first request after which it has its content: a PUT that is long enough, a Complete, or a copy
    to a name that has had no empty PUT before. Requests that change attributes alone come later and do not count.
    """

    def __init__(self, sizes: dict[str, int], by_bytes: bool) -> None:
        """`sizes` are the files' bytes by the ends of their keys."""
        self._missing = dict(sizes)
        self._by_bytes = by_bytes
        self._bytes_missing = sum(sizes.values())
        self._begun: set[str] = set()
        self._last = 0.0
        self._depth = {key.count("/") for key in sizes}

    @property
    def is_complete(self) -> bool:
        return self._bytes_missing <= 0 if self._by_bytes else not self._missing

    @property
    def missing(self) -> int:
        """So many files, or bytes, are not there."""
        return max(self._bytes_missing, 0) if self._by_bytes else len(self._missing)

    @property
    def completed_at(self) -> float:
        """When the last of it came, in seconds since 1970; 0 if nothing was to come."""
        return self._last

    def add(self, lines: Iterable[Line]) -> None:
        for line in lines:
            if not line.is_ok or self.is_complete:
                continue
            if self._by_bytes:
                if line.op in ("PutObject", "UploadPart"):
                    self._bytes_missing -= line.bytes_in
                    self._last = max(self._last, line.ended)
                continue
            name = self._name(line.key)
            if name is not None and self._gives_content(line, name):
                del self._missing[name]
                self._last = max(self._last, line.ended)

    def _name(self, key: str) -> str | None:
        """The file that a key is, whatever prefix it has in the bucket."""
        parts = key.split("/")
        for depth in self._depth:
            name = "/".join(parts[-depth - 1:])
            if name in self._missing:
                return name
        return None

    def _gives_content(self, line: Line, name: str) -> bool:
        if line.op == "PutObject":
            if line.bytes_in >= self._missing[name]:
                return True
            self._begun.add(name)
            return False
        if line.op == "CopyObject":
            return name not in self._begun
        return line.op == "CompleteMultipartUpload"


@dataclass(frozen=True)
class Span:
    """One workload among those that share a mount."""

    name: str
    path: str
    """A part of the keys that it alone writes, or empty."""
    began: float


def attribute(lines: Iterable[Line], spans: list[Span]) -> dict[str, list[Line]]:
    """Gives each line to the workload that caused it.

    That is the one in whose time it began, but for what is written late under a name of an earlier one's. What came before the
    first belongs to nobody.
    """
    given: dict[str, list[Line]] = {span.name: [] for span in spans}
    for line in lines:
        begun = [span for span in spans if span.began <= line.began]
        if not begun:
            continue
        current = begun[-1]
        is_of = [span for span in begun if span.path and f"/{span.path}" in f"/{line.key}"]
        if line.is_write and is_of and not (current.path and f"/{current.path}" in f"/{line.key}"):
            current = is_of[-1]
        given[current.name].append(line)
    return given
