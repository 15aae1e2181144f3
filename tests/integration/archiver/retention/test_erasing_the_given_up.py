"""`forget` also erases the levels and sounds of chunks that were given up for another cause. No broker runs."""

from __future__ import annotations

import contextlib

import pytest
from msgspec.structs import replace

from edge.archiver.intake import Intake
from edge.archiver.plan.plan import Manifest, all_chunks
from edge.archiver.stored_manifests import fetch_manifest
from edge.catalog import Catalog
from edge.catalog.values import SoundRange
from edge.configuration.settings import Settings, Thresholds
from edge.core.instant import FIRST, LAST
from edge.core.values import GoneCause, SoundSpan
from edge.spool.spool import Spool
from edge.store.s3 import S3Store
from tests.support.archiver.parts import make_deletions
from tests.support.archiver.running import catalog_rows, erase, fill, rows_by_number, running_archiver, wait_stored
from tests.support.spool.chunks import RATE, STREAM, audio_bytes, make_chunk, put_chunk
from tests.support.store.s3 import RunningStore

GIVEN_UP = f"{STREAM}-000001"


def _manifests(settings: Settings) -> list[Manifest]:
    store = S3Store(settings.s3)
    return [fetch_manifest(store, key, size) for key, size in store.keys("imhearing/porch/") if key.endswith(".zip")]


def _traces(settings: Settings) -> list[str]:
    """What catalog and archives still say about how the chunk sounded."""
    found = []
    row = catalog_rows(settings)[GIVEN_UP]
    if row.chunk.levels is not None or row.chunk.sounds:
        found.append("catalog")
    with contextlib.closing(Catalog(settings.catalog.db_path)) as catalog:
        sounds = catalog.sound_run(SoundRange(FIRST, LAST), None, 9).sounds
        found += [sound.sound_id for sound in sounds if sound.chunk_id == GIVEN_UP]
    for manifest in _manifests(settings):
        listed = [chunk for chunk in all_chunks(manifest) if chunk.chunk_id == GIVEN_UP]
        found += [manifest.archive_id for chunk in listed if chunk.levels is not None or chunk.sounds]
    return found


def _fill_with_a_given_up(settings: Settings, cause: GoneCause) -> None:
    """Three chunks wait, and the second of them, with a sound in it, is given up."""
    fill(settings, 1)
    spool, data = Spool(settings.recorder.record_path, "porch"), audio_bytes(1)
    put_chunk(spool, make_chunk(1, data, sounds=(SoundSpan(f"{STREAM}-s8100", RATE + 100, 500, -20.0, -24.0),)), data)
    fill(settings, 1, first=2)
    with contextlib.closing(Catalog(settings.catalog.db_path)) as catalog:
        Intake(spool, catalog).rescan()
        make_deletions(spool, catalog).give_up([GIVEN_UP], cause)


@pytest.mark.parametrize("listed", [False, True], ids=["in no manifest yet", "in an archive's manifest"])
@pytest.mark.parametrize("cause", ["quiet", "dropped"])
def test_forget_erases_the_levels_and_sounds_of_a_chunk_that_was_given_up(
    settings: Settings, store: RunningStore, cause: GoneCause, listed: bool
) -> None:
    _fill_with_a_given_up(settings, cause)
    if listed:
        with running_archiver(settings):
            wait_stored(settings, 2)
    assert len(_traces(settings)) == (3 if listed else 2)
    with running_archiver(settings if listed else replace(settings, thresholds=Thresholds())):
        assert erase(settings, 1, 2).state == "done"
    assert _traces(settings) == []
    with running_archiver(settings):
        wait_stored(settings, 2)
    assert _traces(settings) == []
    assert rows_by_number(settings)[1].gone == "erased"
    [manifest] = _manifests(settings)
    assert [(one.chunk.chunk_id, one.cause) for one in manifest.discarded] == [(GIVEN_UP, "erased")]


@pytest.mark.usefixtures("synchronised")
def test_forget_erases_the_levels_and_sounds_of_an_expired_chunk(settings: Settings, store: RunningStore) -> None:
    fill(settings, 3)
    with running_archiver(settings):
        wait_stored(settings, 3)
    with contextlib.closing(Catalog(settings.catalog.db_path)) as catalog:
        [archive_id] = catalog.archive_records.uploaded_ids()
        catalog.deletions.expire_archive(archive_id)
    with running_archiver(replace(settings, archive=replace(settings.archive, keep_remote=1e-9))):
        erase(settings, 1, 2)
    assert _traces(settings) == []
    assert [rows_by_number(settings)[seq].gone for seq in range(3)] == ["lifecycle", "erased", "lifecycle"]
