"""The direct limit: what the client of cosmount needs without a file system on top, by `benches/transfer.rs`."""

from __future__ import annotations

import json
import os
from pathlib import Path

from . import processes
from .contenders import COS_KEYS
from .server import Server
from .workloads import Limit

DEADLINE_SECONDS = 60.0
BUCKET = "race-direct-1250000000"


class DirectFailed(Exception):
    """What the transfer said when it failed."""


def measure(transfer: Path, server: Server, limit: Limit, place: Path) -> dict[str, float]:
    """Seconds by the workload that they are the limit of.

    Raises DirectFailed if the transfer does not end well.
    """
    command = [str(transfer), "--bench", "--endpoint", server.endpoint, "--bucket", BUCKET, *limit.arguments]
    output = place / "transfer.json"
    ran = processes.run(command, DEADLINE_SECONDS, place / "transfer.errors", output, os.environ | COS_KEYS)
    if not ran.is_ok:
        raise DirectFailed(f"{' '.join(command)}: {ran.told or 'no answer in time'}")
    told = json.loads(output.read_text())
    return {workload: told[field] for workload, field in limit.fields.items()}
