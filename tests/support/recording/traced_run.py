"""Runs a function in a forked child, in which strace traces or kills one thread from a known point on."""

from __future__ import annotations

import logging
import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from edge.core.values import AudioFormat
from edge.spool.spool import Spool
from tests.support.recording.recorder_run import record_file
from tests.support.wait import DEADLINE, wait_until

Who = Literal["recorder", "disk"]  # the recorder's own thread, or that of the disk


class Gate:
    """Holds the child until it is traced."""

    def __init__(self) -> None:
        self._ready, self._ready_in = os.pipe()
        self._go_out, self._go = os.pipe()

    def stop(self) -> None:
        """In the child: reports the calling thread, and waits."""
        os.write(self._ready_in, f"{threading.get_native_id()}\n".encode())
        os.read(self._go_out, 1)

    def thread(self) -> int:
        """In the parent: the waiting thread."""
        return int(os.read(self._ready, 20))

    def open(self) -> None:
        os.write(self._go, b"x")

    def close(self) -> None:
        for end in (self._ready, self._ready_in, self._go_out, self._go):
            os.close(end)


def run_traced(
    spool: Path, sound: Path, progress: Path, audio_format: AudioFormat, who: Who, strace: list[str]
) -> bool:
    """Runs `life` in a child while `strace` (its options) traces the thread `who`; returns whether it finished."""
    gate = Gate()
    pid = os.fork()
    if pid == 0:
        _be_child(lambda: record_file(Spool(spool, "porch"), sound, progress, audio_format), gate, who)
    thread = gate.thread()
    tracer = subprocess.Popen(["strace", "-qq", "-p", str(thread), *strace], stderr=subprocess.DEVNULL)
    wait_until(lambda: _is_traced(pid, thread), "strace is attached")
    gate.open()
    _, status = os.waitpid(pid, 0)
    tracer.wait(DEADLINE)
    gate.close()
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "the life ended with an error"
    return not os.WIFSIGNALED(status)


def _be_child(life: Callable[[], None], gate: Gate, who: Who) -> None:
    logging.disable()
    try:
        if who == "recorder":
            gate.stop()
        else:
            run = threading.Thread.run

            def stop_first(thread: threading.Thread) -> None:
                if thread.name == "disk":
                    gate.stop()
                run(thread)

            threading.Thread.run = stop_first  # type: ignore[method-assign, assignment]
        life()
    except BaseException:
        os._exit(1)
    os._exit(0)


def _is_traced(pid: int, thread: int) -> bool:
    status = Path(f"/proc/{pid}/task/{thread}/status").read_text()
    return "\nTracerPid:\t0\n" not in status
