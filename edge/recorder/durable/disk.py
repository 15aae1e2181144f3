"""The disk thread: everything that may wait for an fsync, in order, so that a slow card stalls nothing else."""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections.abc import Callable

from edge.core.errors import ImHearingError
from edge.recorder.durable.chunk_writer import ChunkWriter

log = logging.getLogger(__name__)

Task = Callable[[], None]


class Disk:
    """Runs tasks one after the other, and fsyncs the chunk being written every `sync_seconds`.

    After the first failure nothing more is run and `failure` says why: a file whose fsync failed is never trusted
    again. The owner then stops, repairs the spool and starts again with a new Disk.
    """

    def __init__(self, sync_seconds: float) -> None:
        self._sync_seconds = sync_seconds
        self._tasks: queue.SimpleQueue[Task | threading.Event | None] = queue.SimpleQueue()
        self._descriptor: int | None = None
        self.failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="disk", daemon=True)
        self._thread.start()

    def do(self, task: Task) -> None:
        """Queues `task`; it may raise OSError or an ImHearingError."""
        self._tasks.put(task)

    def watch(self, writer: ChunkWriter) -> None:
        """From now on `writer`'s file is the one to fsync; it has a descriptor of ours until the next call."""
        descriptor = writer.duplicate_descriptor()

        def swap() -> None:
            self._close_descriptor()
            self._descriptor = descriptor

        self.do(swap)

    def fail(self, problem: Exception) -> None:
        """Another thread found the disk failing: nothing more is run."""
        self.failure = self.failure or problem

    def flush(self) -> None:
        """Waits until all that was queued is done, or was given up because the disk failed."""
        done = threading.Event()
        self._tasks.put(done)
        done.wait()

    def close(self) -> None:
        """Waits until all tasks are done."""
        self._tasks.put(None)
        self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                item = self._tasks.get(timeout=self._sync_seconds)
            except queue.Empty:
                item = self._sync
            if item is None:
                break
            if isinstance(item, threading.Event):
                item.set()
            elif self.failure is None:
                self._attempt(item)
        self._close_descriptor()

    def _attempt(self, task: Task) -> None:
        try:
            task()
        except (OSError, ImHearingError) as problem:
            log.error("the disk failed: %s", problem)  # noqa: TRY400 - the problem says it all
            self.failure = problem
        except Exception as problem:  # else this thread would end, and leave those who wait for it hanging
            log.exception("the disk thread failed")
            self.failure = problem

    def _sync(self) -> None:
        if self._descriptor is not None:
            os.fsync(self._descriptor)

    def _close_descriptor(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
