"""How an upload sends its parts: two at a time, no faster than allowed, and with signs of life."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from edge.archiver.upload.parts import Parts, TakenPart
from edge.core.kernel_clock import KernelClock

_SENDERS = 2  # memory holds no more parts than are on their way

OnProgress = Callable[[int], None]  # bytes that the store has by now


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


class ProgressHeartbeat:
    """An `OnProgress` that also shows life while the store gets nothing: reading back, hashing.

    Without any sign of life for long, the upload counts as stuck and the process ends.
    """

    def __init__(self, on_progress: OnProgress) -> None:
        self._on_progress = on_progress
        self._done = 0
        self._lock = threading.Lock()

    def __call__(self, done: int) -> None:
        with self._lock:
            self._done = done
            self._on_progress(done)

    def again(self) -> None:
        """No more bytes than before, but still at work. For any thread."""
        with self._lock:
            self._on_progress(self._done)


class RateLimiter:
    """`[archive] max_rate`: lets `rate` bytes a second through on average, also within a part. For several threads.

    `on_wait` is called at least once a second while it holds something up, unless the rate is below a byte a second.
    """

    def __init__(self, rate: float, stop: threading.Event, clock: KernelClock, on_wait: Callable[[], None]) -> None:
        self.step = max(1, int(rate))
        self._rate = rate
        self._stop = stop
        self._clock = clock
        self._on_wait = on_wait
        self._lock = threading.Lock()
        self._free_at = 0.0

    def wait(self, size: int) -> None:
        """Returns when `size` more bytes may be sent, or the process is stopping."""
        with self._lock:
            now = self._clock.monotonic() / 1e6
            start = max(now, self._free_at)
            self._free_at = start + size / self._rate
        self._stop.wait(start - now)
        self._on_wait()
