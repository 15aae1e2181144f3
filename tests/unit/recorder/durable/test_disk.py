"""The disk thread: callers never hang, even if a task fails."""

from __future__ import annotations

import pytest

from edge.recorder.durable.disk import Disk


class Unforeseen(Exception):
    """Neither an OSError nor one of ours."""


@pytest.mark.parametrize("problem", [OSError(5, "Input/output error"), Unforeseen("a library's own")])
def test_after_the_first_failure_the_disk_thread_runs_no_further_task(problem: Exception) -> None:
    def fail() -> None:
        raise problem

    disk, ran = Disk(60), []
    disk.do(fail)
    disk.do(lambda: ran.append(1))
    disk.close()
    assert disk.failure is problem
    assert not ran


def test_flush_returns_after_any_failure() -> None:
    disk = Disk(60)

    def fail() -> None:
        raise Unforeseen

    disk.do(fail)
    disk.flush()
    disk.close()
    assert isinstance(disk.failure, Unforeseen)
