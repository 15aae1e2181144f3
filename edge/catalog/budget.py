"""What one question may cost: rows, decoded bytes, CPU time, and how long one statement may keep a commit waiting.

Rows and bytes are the same on every machine, so that what may be asked does not depend on its speed. CPU time is the
last resort, and what makes long scans give way to others.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from edge.core.errors import BudgetSpent

ROWS = 6_000  # chunks that one question may read: 0.15 s of work, 10 MB
DECODED_BYTES = 5_000_000  # of their manifests, as JSON: 25 MB where they have the levels of an hour
CPU_SECONDS = 0.4
_SHARE = 0.1  # CPU seconds after which a question that can go on later should stop
STATEMENT_SECONDS = 0.15  # a commit waits for the statement that is running


class Budget:
    """The budget of one question, in one thread. Make it in that thread, when the question's turn has come."""

    def __init__(
        self,
        rows: int = ROWS,
        decoded_bytes: int = DECODED_BYTES,
        cpu_seconds: float = CPU_SECONDS,
        *,
        cpu_clock: Callable[[], float] = time.thread_time,
    ) -> None:
        self._rows = rows
        self._bytes = decoded_bytes
        self._cpu_clock = cpu_clock
        self._started = cpu_clock()
        self._cpu_seconds = cpu_seconds

    @property
    def rows_left(self) -> int:
        return max(0, self._rows)

    @property
    def has_bytes_left(self) -> bool:
        return self._bytes > 0

    def count_row(self, decoded_bytes: int = 0) -> None:
        """One row more was read, and so many bytes of it decoded. Raises BudgetSpent."""
        self._rows -= 1
        self._bytes -= decoded_bytes
        if self._rows < 0:
            raise BudgetSpent("the question needs more of the catalog than one may read")

    @property
    def should_stop(self) -> bool:
        """Whether a question that can go on later has had its share of the time."""
        return self._spent_seconds() > min(_SHARE, self._cpu_seconds)

    @property
    def is_out_of_time(self) -> bool:
        return self._spent_seconds() > self._cpu_seconds

    def _spent_seconds(self) -> float:
        return self._cpu_clock() - self._started
