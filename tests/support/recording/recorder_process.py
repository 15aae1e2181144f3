"""The recorder as a process: `python -m tests.support.recording.recorder_process DATA [SECTION.KEY=VALUE]...`."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import edge.configuration.loader
import edge.recorder.service
from edge.core.errors import ImHearingError
from edge.core.ids import stream_of
from edge.spool.chunks import PartFile
from edge.spool.spool import Spool
from tests.support.wait import DEADLINE, wait_until

ROOT = Path(__file__).parents[3]


class RecorderProcess:
    """A running recorder; its log goes to `data/recorder.log`."""

    def __init__(
        self,
        data: Path,
        *options: str,
        environment: Mapping[str, str] | None = None,
        around: Sequence[str] = (),
    ) -> None:
        data.mkdir(parents=True, exist_ok=True)
        self.data = data
        self.spool = Spool(data / "spool", "porch")
        self._before = set(self.spool.streams.ids()) if self.spool.path.exists() else set()
        self._log = data / "recorder.log"
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [*around, *command(data), *options],
                cwd=ROOT,
                env=os.environ | (environment or {}),
                stdout=log,
                stderr=log,
            )

    @property
    def log(self) -> str:
        """Its output so far."""
        return self._log.read_text()

    def wait_until_recording(self, written: int = 1, timeout: float = DEADLINE) -> None:
        """Waits until it records a new stream, into a file of `written` bytes; the next call, until it does
        another."""
        part = wait_until(lambda: self._part(written), "the recorder records", timeout)
        self._before.add(stream_of(part.chunk_id))

    def _part(self, written: int) -> PartFile | None:
        parts = self.spool.chunks.parts() if self.spool.path.exists() else []
        fresh = [part for part in parts if stream_of(part.chunk_id) not in self._before and part.bytes >= written]
        return fresh[0] if fresh else None

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGTERM, timeout: float = DEADLINE) -> int:
        """Sends a signal and waits until it exits; returns the exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout)

    def kill(self) -> None:
        self.end(signal.SIGKILL)


def command(data: Path) -> list[str]:
    return [sys.executable, "-m", "tests.support.recording.recorder_process", str(data), "node.name=porch"]


@contextlib.contextmanager
def running_recorder(
    data: Path, *options: str, environment: Mapping[str, str] | None = None, around: Sequence[str] = ()
) -> Iterator[RecorderProcess]:
    """A recorder that is stopped at the end, by its process id. `around`: a program to run it under, such as strace."""
    recorder = RecorderProcess(data, *options, environment=environment, around=around)
    try:
        yield recorder
    finally:
        if recorder.process.poll() is None:
            recorder.process.send_signal(signal.SIGCONT)
            recorder.kill()


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop.set())
    try:
        settings = edge.configuration.loader.load(Path(sys.argv[1]), overrides=sys.argv[2:])
        edge.recorder.service.run(settings, stop)
    except ImHearingError as problem:
        print(problem, file=sys.stderr)  # noqa: T201 - where its caller looks
        return problem.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
