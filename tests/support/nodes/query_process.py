"""The query service as a process of its own, with the web page, on any data folder."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from edge.embedded import ports
from query_service.page.codes import make_code
from tests.support.wait import DEADLINE, wait_until

ROOT = Path(__file__).parents[3]
KEY = "0123456789abcdef"  # signs the owner's links


class QueryProcess(NamedTuple):
    process: subprocess.Popen[bytes]
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def owner_url(self, fragment: str = "") -> str:
        """Logs in as the owner, once."""
        return f"{self.url}/#{fragment}&code={make_code(KEY, time.time())}"

    @property
    def family(self) -> list[int]:
        """The service and the helpers that it has started."""
        found, new = [], [self.process.pid]
        while new:
            found.append(new.pop())
            for children in Path(f"/proc/{found[-1]}/task").glob("*/children"):
                with contextlib.suppress(OSError):
                    new += map(int, children.read_text().split())
        return found

    @property
    def memory(self) -> float:
        """Proportional set size of all of them, in MB of 1,000,000 bytes."""
        total = 0
        for pid in self.family:
            with contextlib.suppress(OSError):
                lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
                total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        return total * 1_024 / 1e6

    @property
    def processor(self) -> float:
        """Seconds that the service itself has worked."""
        found = [path.read_text().split()[0] for path in Path(f"/proc/{self.process.pid}/task").glob("*/schedstat")]
        return sum(map(int, found)) / 1e9


@contextlib.contextmanager
def running_query_process(data: Path, *overrides: str, name: str = "porch") -> Iterator[QueryProcess]:
    """On `data`, with `section.key=value` settings; its log goes to `data/query-service.log`."""
    port = ports.choose(None)
    settings = (f"node.name={name}", f"http.port={port}", f"query.cursor_key={KEY}", *overrides)
    command = [sys.executable, "-m", "imhearing", "query-service", "--data", str(data)]
    for setting in settings:
        command += ["--set", setting]
    with (data / "query-service.log").open("ab") as log:
        environment = os.environ | {"MALLOC_ARENA_MAX": "1"}  # as its unit has it
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
    service = QueryProcess(process, port)
    try:
        wait_until(lambda: ports.answers(port) or process.poll() is not None, "the query service answers")
        assert process.poll() is None, (data / "query-service.log").read_text()
        yield service
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(DEADLINE)
