"""Who takes part: how each is found, mounted and named. Each is mounted as its own documentation begins, in the foreground."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from collections.abc import Callable

from .server import ACCESS_ID, SECRET_KEY

# A name that both protocols take: COS wants the number at its end.
BUCKET_SUFFIX = "-1250000000"
SHARED_BUCKET = f"race-shared{BUCKET_SUFFIX}"

AWS_KEYS = {"AWS_ACCESS_KEY_ID": ACCESS_ID, "AWS_SECRET_ACCESS_KEY": SECRET_KEY, "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true"}
COS_KEYS = {"COS_SECRETID": ACCESS_ID, "COS_SECRETKEY": SECRET_KEY}


@dataclass(frozen=True)
class Site:
    """Where a contender works: what its command line is made of."""

    endpoint: str
    bucket: str
    mount_point: Path
    kept: Path
    """What outlives a mount, such as a database that is the truth."""
    cache: Path
    """What is removed for a mount that knows nothing."""


@dataclass(frozen=True)
class Contender:
    """One program, with one way to mount."""

    name: str
    program: Path
    command: Callable[[Path, Site], list[str]]
    version: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    prepare: Callable[[Path, Site], list[str] | None] = lambda program, site: None
    """What has to be run once, before the first mount."""
    has_own_format: bool = False
    """Its files are not objects of their names, so that nobody else can read them."""
    remark: str = ""

    @property
    def is_ours(self) -> bool:
        return self.name.startswith("cosmount")

    @property
    def bucket(self) -> str:
        return f"race-{self.name}{BUCKET_SUFFIX}"

    def told_version(self) -> str:
        """What the program says of itself, in its first line."""
        try:
            told = subprocess.run([str(self.program), *self.version], capture_output=True, text=True, timeout=10)
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"unknown: {error}"
        lines = (told.stdout + told.stderr).strip().splitlines()
        return lines[0] if lines else "unknown"


def _cosmount(program: Path, site: Site) -> list[str]:
    return [str(program), "mount", site.bucket, str(site.mount_point), "--endpoint", site.endpoint, "--foreground",
            "--log-file", str(site.kept / "log")]


def _cosmount_s3(program: Path, site: Site) -> list[str]:
    return [*_cosmount(program, site), "--s3", "--path-style"]


def _rclone(mode: str, *options: str) -> Callable[[Path, Site], list[str]]:
    def command(program: Path, site: Site) -> list[str]:
        return [str(program), "mount", f":s3:{site.bucket}", str(site.mount_point), "--config", str(site.kept / "none.conf"),
                "--s3-provider", "Other", "--s3-endpoint", site.endpoint, "--s3-env-auth", "--s3-no-check-bucket",
                "--cache-dir", str(site.cache), "--vfs-cache-mode", mode, *options]
    return command


def _s3fs(program: Path, site: Site) -> list[str]:
    keys = site.kept / "passwd"
    if not keys.exists():
        keys.touch(mode=0o600)
        keys.write_text(f"{ACCESS_ID}:{SECRET_KEY}\n")
    return [str(program), site.bucket, str(site.mount_point), "-f", "-o", f"url={site.endpoint}", "-o", "use_path_request_style",
            "-o", f"passwd_file={keys}", "-o", f"tmpdir={site.cache}"]


def _juicefs_database(site: Site) -> str:
    return f"sqlite3://{site.kept}/names.db"


def _juicefs_format(program: Path, site: Site) -> list[str] | None:
    return [str(program), "format", "--storage", "s3", "--bucket", f"{site.endpoint}/{site.bucket}", _juicefs_database(site), "race"]


def _juicefs(program: Path, site: Site) -> list[str]:
    return [str(program), "mount", "--no-usage-report", "--cache-dir", str(site.cache), "--log", str(site.kept / "log"),
            _juicefs_database(site), str(site.mount_point)]


def _mount_s3(program: Path, site: Site) -> list[str]:
    return [str(program), site.bucket, str(site.mount_point), "--endpoint-url", site.endpoint, "--force-path-style",
            "--allow-delete", "--allow-overwrite", "--foreground"]


def _goofys(program: Path, site: Site) -> list[str]:
    return [str(program), "-f", "--endpoint", site.endpoint, "--region", "us-east-1", site.bucket, str(site.mount_point)]


def _geesefs(program: Path, site: Site) -> list[str]:
    return [str(program), "-f", "--endpoint", site.endpoint, site.bucket, str(site.mount_point)]


def installed(cosmount: Path, tools: Path, is_quick: bool) -> list[Contender]:
    """All that can take part here: those that `scripts/setup-bench` has put into `tools`, and others that are on PATH."""
    # A quick race has no time to wait for 5 s at each workload.
    write_back = ["--vfs-write-back", "1s"] if is_quick else []

    def found(name: str) -> Path | None:
        own = tools / name
        there = str(own) if own.exists() else shutil.which(name)
        return Path(there) if there else None

    known = [
        Contender("cosmount-cos", cosmount, _cosmount, ["--version"], COS_KEYS),
        Contender("cosmount-s3", cosmount, _cosmount_s3, ["--version"], AWS_KEYS),
    ]
    if rclone := found("rclone"):
        known.append(Contender("rclone", rclone, _rclone("off"), ["version"], AWS_KEYS, remark="cache off"))
        after = "1 s after close(), here; 5 s otherwise" if is_quick else "5 s after close()"
        remark = f"`--vfs-cache-mode full`: uploads begin {after}"
        known.append(Contender("rclone-full", rclone, _rclone("full", *write_back), ["version"], AWS_KEYS, remark=remark))
    if s3fs := found("s3fs"):
        known.append(Contender("s3fs", s3fs, _s3fs, ["--version"], AWS_KEYS))
    if juicefs := found("juicefs"):
        known.append(Contender("juicefs", juicefs, _juicefs, ["version"], AWS_KEYS, _juicefs_format, has_own_format=True,
                               remark="own format: names and attributes in a SQLite file on this machine, the bucket has blocks "
                                      "that only it can read"))
    if mount_s3 := found("mount-s3"):
        known.append(Contender("mount-s3", mount_s3, _mount_s3, ["--version"], AWS_KEYS))
    if geesefs := found("geesefs"):
        known.append(Contender("geesefs", geesefs, _geesefs, ["--version"], AWS_KEYS))
    if goofys := found("goofys"):
        known.append(Contender("goofys", goofys, _goofys, ["--version"], AWS_KEYS))
    return known
