"""`keep_remote` and clocks: a wrong one costs no archive. No broker runs."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import ClassVar

import pytest
from msgspec.structs import replace

from edge.archiver import service
from edge.catalog import Catalog
from edge.catalog.holds import change_holds
from edge.configuration.settings import Settings
from edge.core.instant import Instant
from edge.core.kernel_clock import KernelClock
from tests.support.archiver.running import erase, fill, rows_by_number, running_archiver, stored_chunks, wait_stored
from tests.support.spool.chunks import SECOND, START
from tests.support.store.s3 import RunningStore
from tests.support.wait import wait_until

DAY = 86_400.0


class WrongClock(KernelClock):
    """The machine's, `ahead` seconds ahead."""

    ahead: ClassVar[float] = 0.0
    is_synchronised: ClassVar[bool] = True

    def now(self) -> Instant:
        return Instant(super().now() + round(self.ahead * SECOND))

    def synchronised(self) -> bool:
        return self.is_synchronised


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[WrongClock]]:
    monkeypatch.setattr(service, "KernelClock", WrongClock)
    yield WrongClock
    WrongClock.ahead, WrongClock.is_synchronised = 0.0, True


@pytest.fixture
def keeping(settings: Settings, caplog: pytest.LogCaptureFixture) -> Settings:
    """Three archives of one chunk, kept for a year."""
    caplog.set_level(logging.INFO)
    archive = replace(settings.archive, archive_max_chunks=1, keep_remote=365.0)
    chosen = replace(settings, archive=archive)
    fill(settings, 3)
    return chosen


def _gone(settings: Settings) -> list[str | None]:
    return [row.gone for _, row in sorted(rows_by_number(settings).items())]


@pytest.mark.parametrize(
    ("is_synchronised", "reason"),
    [(True, "s ahead of the store's"), (False, "the clock is not synchronised")],
    ids=["synchronised", "not synchronised"],
)
def test_a_clock_that_jumps_forward_expires_no_archive(
    keeping: Settings,
    store: RunningStore,
    clock: type[WrongClock],
    caplog: pytest.LogCaptureFixture,
    is_synchronised: bool,
    reason: str,
) -> None:
    with running_archiver(keeping):
        wait_stored(keeping, 3)
        clock.ahead, clock.is_synchronised = 400 * DAY, is_synchronised
        wait_until(lambda: reason in caplog.text, "it is held back")
        clock.ahead, clock.is_synchronised = 0.0, True
        wait_until(lambda: _gone(keeping) == [None] * 3, "nothing has expired")
    with running_archiver(keeping):
        fill(keeping, 1, first=3)
        wait_stored(keeping, 4)
    assert _gone(keeping) == [None] * 4
    assert len(stored_chunks(store)) == 4


def test_archives_expire_by_a_clock_that_agrees_with_the_store(
    keeping: Settings, store: RunningStore, clock: type[WrongClock]
) -> None:
    with running_archiver(replace(keeping, archive=replace(keeping.archive, keep_remote=1e-9))):
        wait_until(lambda: stored_chunks(store) == [] and _gone(keeping) == ["lifecycle"] * 3, "all have expired")


def test_an_archive_that_a_wrong_clock_dated_back_is_kept_by_the_stores_own_time(
    keeping: Settings, store: RunningStore, clock: type[WrongClock], caplog: pytest.LogCaptureFixture
) -> None:
    """As one that was uploaded before the clock was set: the catalog says that it is old."""
    clock.ahead = -400 * DAY
    with running_archiver(keeping):
        wait_stored(keeping, 3)
    clock.ahead = 0.0
    with running_archiver(keeping):
        wait_until(lambda: caplog.text.count("the store got it on") == 3, "each is held back once")
        wait_until(lambda: _gone(keeping) == [None] * 3, "nothing has expired")
    assert len(stored_chunks(store)) == 3


def _expire_all(settings: Settings) -> None:
    """As an archiver that ended before it deleted them."""
    with contextlib.closing(Catalog(settings.catalog.db_path)) as catalog:
        for archive_id in catalog.archive_records.uploaded_ids():
            catalog.deletions.expire_archive(archive_id)


def test_archives_that_were_condemned_by_a_wrong_clock_are_kept_once_it_is_right(
    keeping: Settings, store: RunningStore, clock: type[WrongClock]
) -> None:
    with running_archiver(keeping):
        wait_stored(keeping, 3)
    _expire_all(keeping)
    with running_archiver(keeping):
        wait_until(lambda: _gone(keeping) == [None] * 3, "they are kept")
    assert len(stored_chunks(store)) == 3


def test_a_hold_also_keeps_an_archive_that_was_about_to_be_deleted_for_its_age(
    keeping: Settings, store: RunningStore, clock: type[WrongClock]
) -> None:
    with running_archiver(keeping):
        wait_stored(keeping, 3)
    _expire_all(keeping)
    change_holds(keeping.catalog.db_path, lambda holds: holds.added(START, Instant(START + SECOND)))
    with running_archiver(replace(keeping, archive=replace(keeping.archive, keep_remote=1e-9))):
        wait_until(lambda: _gone(keeping) == [None, "lifecycle", "lifecycle"], "the others expire")
        wait_until(lambda: len(stored_chunks(store)) == 1, "the others are deleted")


def test_forget_does_not_wait_for_a_synchronised_clock(
    keeping: Settings, store: RunningStore, clock: type[WrongClock]
) -> None:
    clock.is_synchronised, clock.ahead = False, 400 * DAY
    with running_archiver(keeping):
        wait_stored(keeping, 3)
        assert erase(keeping, 1, 2).chunks == 1
    assert len(stored_chunks(store)) == 2
