"""Parts of an upload, two at a time: memory holds no more than those that are on their way."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from edge.archiver.upload.parts import Parts, TakenPart
from edge.archiver.upload.progress_heartbeat import OnProgress

_SENDERS = 2


class PartSenders:
    """Threads that take the next part each and send it, until all are sent or one failed."""

    def __init__(self, send: Callable[[TakenPart, str], str], parts: Parts, on_progress: OnProgress) -> None:
        self._send = send
        self._parts = parts
        self._on_progress = on_progress
        self._lock = threading.Lock()
        self._etags: dict[int, str] = {}
        self._done = 0
        self._failed = threading.Event()
        self._ended: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

    def run(self) -> list[str]:
        """The store's ETags in the order of parts; raises the first failure once no thread is sending any more."""
        for _ in range(_SENDERS):
            threading.Thread(target=self._run_one, name="sender", daemon=True).start()
        problems = [problem for problem in (self._ended.get() for _ in range(_SENDERS)) if problem is not None]
        if problems:
            raise problems[0]
        return [self._etags[number] for number in sorted(self._etags)]

    def _run_one(self) -> None:
        buffer = self._parts.buffer()
        try:
            while not self._failed.is_set() and self._send_next(buffer):
                pass
        except BaseException as problem:
            self._failed.set()
            self._ended.put(problem)
        else:
            self._ended.put(None)

    def _send_next(self, buffer: bytearray) -> bool:
        with self._lock:
            part = self._parts.take(buffer)
        if part is None:
            return False
        etag = self._send(part, self._parts.md5(part))
        with self._lock:
            self._etags[part.number] = etag
            self._done += len(part.body)
            self._on_progress(self._done)
        return True
