"""`forget` also removes earlier catalogs: they still have levels and sounds of the range. No broker runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from edge.catalog.erasures import Erasures
from edge.configuration.settings import Settings, Thresholds
from edge.core.instant import Instant
from edge.core.values import SoundSpan
from edge.spool.spool import Spool
from tests.support.archiver.running import catalog_rows, erase, fill, running_archiver, wait_stored
from tests.support.spool.chunks import RATE, SECOND, START, STREAM, audio_bytes, make_chunk, put_chunk
from tests.support.wait import wait_until

COPIES = (
    "catalog.db.old",
    "catalog.db.old-journal",
    "catalog.db.before-upgrade",
    "catalog.db.before-upgrade.new",
    "catalog.db.newer",
    "catalog.db.newer-journal",
    "catalog.db.damaged-20260303T220000Z",
    "catalog.db.damaged-20260303T220000Z-journal",
    "catalog.db.rebuilding",
)
OTHERS = ("holds.json.bak", "catalog.db.txt", "old")


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_file()}


def test_forget_removes_every_earlier_catalog(tmp_path: Path, settings: Settings) -> None:
    fill(settings, 3)
    for name in (*COPIES, *OTHERS):
        (tmp_path / name).write_bytes(b"levels and sounds")
    with running_archiver(settings):
        wait_stored(settings, 3)
        assert _names(tmp_path) >= set(COPIES) - {"catalog.db.rebuilding"}
        erase(settings, 1, 2)
    assert _names(tmp_path) & set(COPIES) == set()
    assert _names(tmp_path) >= {*OTHERS, "catalog.db"}


def test_an_order_to_erase_waits_while_an_earlier_catalog_cannot_be_removed(
    tmp_path: Path, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "catalog.db.old").mkdir()  # root can remove any file
    orders = Erasures(settings.catalog.db_path)
    with running_archiver(settings):
        order = orders.give(START, Instant(START + SECOND), START)
        wait_until(lambda: "catalog.db.old" in caplog.text, "it is reported")
        assert orders.result(order.id) is None
        (tmp_path / "catalog.db.old").rmdir()
        wait_until(lambda: orders.result(order.id) is not None, "the order is carried out")


def test_what_a_killed_rebuild_left_is_removed_at_the_next_start(tmp_path: Path, settings: Settings) -> None:
    left = [tmp_path / f"catalog.db.rebuilding{ending}" for ending in ("", "-journal", ".lock", ".reserve")]
    for path in left:
        path.write_bytes(b"levels and sounds")
    with running_archiver(settings):
        wait_until(lambda: not any(path.exists() for path in left), "it is removed")


def test_nothing_of_an_erased_chunk_is_left_in_the_catalogs_free_pages(settings: Settings) -> None:
    spool, sound, data = Spool(settings.recorder.record_path, "porch"), f"{STREAM}-s8100", audio_bytes(1)
    fill(settings, 1)
    put_chunk(spool, make_chunk(1, data, sounds=(SoundSpan(sound, RATE + 100, 500, -20.0, -24.0),)), data)
    with running_archiver(replace(settings, thresholds=Thresholds())):
        wait_until(lambda: len(catalog_rows(settings)) == 2, "all is known")
        assert sound.encode() in settings.catalog.db_path.read_bytes()
        erase(settings, 1, 2)
    assert sound.encode() not in settings.catalog.db_path.read_bytes()
