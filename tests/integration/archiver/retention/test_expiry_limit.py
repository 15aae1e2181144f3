"""Only so many archives expire within a day, and the archiver's state says why others are kept. No job is executed."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.archiver.jobs import Delete, Rewrite
from edge.archiver.plan.plan import Destination, make_plan
from edge.archiver.retention.expiry import most_a_day
from edge.catalog import Catalog
from edge.configuration.settings import Archive
from edge.core.instant import Instant
from edge.messaging.events import ArchiverState
from tests.support.archiver.stepped import SteppedArchiver
from tests.support.kernel_clock import ManualClock
from tests.support.spool.chunks import SECOND, make_chunk
from tests.support.spool.small_disk import SpoolOnSmallDisk

DAY = 86_400
ARCHIVES = 201


@pytest.fixture(scope="module")
def expired_archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalog whose archives were all uploaded 40 days ago. Copied for each test."""
    path = tmp_path_factory.mktemp("archives") / "catalog.db"
    then = Instant(ManualClock().now() - 40 * DAY * SECOND)
    with contextlib.closing(Catalog(path)) as catalog:
        catalog.open()
        for seq in range(100, 100 + ARCHIVES):
            plan = make_plan([make_chunk(seq, b"x")], {}, Destination("bucket", "p/", "porch"))
            archive = plan.archive(then)
            catalog.registration.restore_archive(archive, plan.members)
            catalog.plans.mark_uploaded(archive.archive_id, "0" * 64, then)
    return path


@pytest.fixture
def expiring(tmp_path: Path, spool: SpoolOnSmallDisk, expired_archives: Path) -> Iterator[SteppedArchiver]:
    """30 days are configured."""
    shutil.copy(expired_archives, tmp_path / "catalog.db")
    node = SteppedArchiver(tmp_path, spool, Archive(keep_remote=30.0))
    with contextlib.closing(node.catalog):
        yield node


def _deleted(node: SteppedArchiver) -> int:
    """How many archives are deleted until there is something else to do."""
    count = 0
    node.turn()
    while isinstance(node.worker.job, Delete):
        node.end()
        count += 1
        node.turn()
    if node.worker.job is not None:
        node.end()
    return count


def _last_expiry(node: SteppedArchiver) -> str | None:
    return [event for event in node.events if isinstance(event, ArchiverState)][-1].expiry


def test_a_backlog_of_old_archives_expires_over_days_and_the_state_says_so(expiring: SteppedArchiver) -> None:
    assert _deleted(expiring) == 100
    assert _deleted(expiring) == 0
    assert _last_expiry(expiring) == "100 have expired within a day, which is the most; the others follow"
    expiring.clock.advance(DAY)
    assert _deleted(expiring) == 100
    expiring.clock.advance(DAY)
    assert _deleted(expiring) == 1
    assert _last_expiry(expiring) is None


def test_the_limit_survives_a_restart_and_does_not_delay_forget(expiring: SteppedArchiver) -> None:
    assert _deleted(expiring) == 100
    again = expiring.restart()
    with contextlib.closing(again.catalog):
        assert _deleted(again) == 0
        again.erase(ARCHIVES + 99, ARCHIVES + 100)  # the second that was uploaded last
        again.turn()
        assert isinstance(again.worker.job, Rewrite)


def test_the_state_says_that_the_clock_is_not_synchronised(expiring: SteppedArchiver) -> None:
    expiring.clock.is_synchronised = False
    assert _deleted(expiring) == 0
    assert _last_expiry(expiring) == "the clock is not synchronised"


@pytest.mark.parametrize(
    ("archives", "keep_days", "most"),
    [(0, 365, 100), (500, 365, 100), (25_000, 365, 2_500), (900, 6, 300), (300, 1, 600)],
)
def test_twice_as_many_may_expire_as_are_uploaded_and_at_least_a_hundred(
    archives: int, keep_days: float, most: int
) -> None:
    assert most_a_day(archives, keep_days) == most
