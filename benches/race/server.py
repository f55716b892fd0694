"""The service that all contenders work on: `cosmount serve` in memory, one process for the whole race."""

from __future__ import annotations

import os
import re
import subprocess
import time
from pathlib import Path

from . import processes
from .access_log import AccessLog, Line

BEGIN_SECONDS = 10.0
ACCESS_ID = "AKIDrace"
SECRET_KEY = "race-on-this-machine"


class Server:
    """A running service. Its access log is read by whoever measures."""

    def __init__(self, cosmount: Path, place: Path, buckets: list[str], latency_ms: int) -> None:
        """Begins a service that has these buckets.

        Raises RuntimeError if it does not begin.
        """
        self.name = f"{latency_ms} ms a request" if latency_ms else "no latency"
        self.latency_ms = latency_ms
        home = place / f"server-{latency_ms}"
        home.mkdir()
        self._log = AccessLog(home / "access.log")
        command = [str(cosmount), "serve", "--in-memory", "--listen", "127.0.0.1:0", "--access-log", str(home / "access.log"),
                   "--log-file", str(home / "log")]
        if latency_ms:
            command += ["--latency-ms", str(latency_ms)]
        for bucket in buckets:
            command += ["--bucket", bucket]
        with open(home / "out", "wb") as out, open(home / "errors", "wb") as errors:
            environment = os.environ | {"COS_SECRETID": ACCESS_ID, "COS_SECRETKEY": SECRET_KEY}
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=errors, env=environment,
                                             start_new_session=True)
        self.endpoint = self._wait_for_endpoint(home)

    def _wait_for_endpoint(self, home: Path) -> str:
        until = time.monotonic() + BEGIN_SECONDS
        while time.monotonic() < until and self._process.poll() is None:
            found = re.search(r"--endpoint (\S+)", (home / "out").read_text())
            if found:
                return found[1]
            time.sleep(0.02)
        self.stop()
        raise RuntimeError(f"the service did not begin within {BEGIN_SECONDS:.0f} s: {(home / 'errors').read_text()[-500:]}")

    @property
    def pid(self) -> int:
        return self._process.pid

    def read_log(self) -> list[Line]:
        """Requests since the last call."""
        return self._log.read_new()

    def stop(self) -> None:
        processes.end(self._process, 5.0)
