"""With `keep = sounds`, quiet chunks are discarded and those around sounds are kept."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from msgspec.structs import replace

from edge.archiver.plan.plan import Destination, make_plan
from edge.catalog import Catalog
from edge.configuration.settings import Archive, Recorder, Settings, Thresholds
from edge.core.instant import FIRST, LAST, Instant
from edge.core.values import SoundSpan, SpoolState
from edge.spool.spool import Spool
from tests.support.archiver.parts import make_policy
from tests.support.archiver.running import coverage_of, rows_by_number, running_archiver, wait_stored
from tests.support.spool.chunks import (
    BOOT,
    SECOND,
    START,
    STREAM,
    audio_bytes,
    fill_spool,
    make_chunk,
    make_stream,
    put_chunk,
)
from tests.support.store.s3 import RunningStore
from tests.support.wait import wait_until


def test_only_chunks_within_the_rolls_of_a_sound_are_kept(
    tmp_path: Path, settings: Settings, store: RunningStore
) -> None:
    spool = Spool(settings.recorder.record_path, "porch")
    spool.create()
    spool.streams.write(make_stream())
    spool.state.write(SpoolState(state="recording", since=START, boot_id=BOOT, ordinal=1, stream_id=STREAM))
    for seq in range(12):
        data = audio_bytes(seq)
        sounds = (SoundSpan(f"{STREAM}-s{seq * 8000 + 100}", seq * 8000 + 100, 500, -20.0, -24.0),)
        put_chunk(spool, make_chunk(seq, data, sounds=sounds if seq == 5 else ()), data)
    chosen = replace(
        settings,
        recorder=replace(settings.recorder, keep="sounds", pre_roll=1.5, post_roll=2.5, record_period=1.0),
        thresholds=Thresholds(records_count=1, sound_level=-30.0),
    )
    with running_archiver(chosen):
        wait_until(lambda: len(list(spool.path.glob("*.flac"))) == 0, "all is archived or discarded")
    kept = {seq for seq, row in rows_by_number(settings).items() if row.where}
    # the sound lasts from 5.0125 to 5.075 s
    assert kept == {3, 4, 5, 6, 7}
    assert {row.gone for seq, row in rows_by_number(settings).items() if seq not in kept} == {"quiet"}
    assert {getattr(i, "cause", None) for i in coverage_of(settings, 12).intervals} == {None, "quiet"}


def test_without_a_sound_level_every_chunk_is_kept(settings: Settings) -> None:
    fill_spool(settings.recorder.record_path, 3)
    with running_archiver(replace(settings, recorder=replace(settings.recorder, keep="sounds"))):
        wait_stored(settings, 3)


@pytest.mark.parametrize(
    ("sound_level", "kept"),
    [
        (-30.0, set()),
        (-30.25, {2, 3, 4, 5}),  # the fourth alone was that loud; the others are within its rolls
        (-20.0, set()),
        (50.0, {0, 1, 2, 3, 4, 5, 6, 7}),  # dBA, but they were measured uncalibrated
        (0.0, {0, 1, 2, 3, 4, 5, 6, 7}),
    ],
)
def test_a_chunk_recorded_without_sound_detection_is_judged_by_its_own_level(
    tmp_path: Path, sound_level: float, kept: set[int]
) -> None:
    spool = Spool(tmp_path / "spool", "porch")
    spool.create()
    recorder = Recorder(record_path=spool.path, keep="sounds", pre_roll=1.5, post_roll=0.5, record_period=1.0)
    chunks = []
    for seq in range(8):
        chunk = make_chunk(seq)
        assert chunk.levels is not None
        chunks.append(replace(chunk, levels=replace(chunk.levels, lafmax=-30.25 if seq == 4 else -40.0)))
    with contextlib.closing(Catalog(tmp_path / "catalog.db")) as catalog:
        catalog.registration.add_chunks(chunks)
        policy = make_policy(spool, catalog, Archive(), recorder, sound_level)
        policy.apply(Instant(START + 3600 * SECOND))
        assert {row.chunk.seq for row in catalog.chunks_between(FIRST, LAST, 99) if row.gone is None} == kept


def test_the_post_roll_counts_from_a_loud_chunk_that_is_already_planned(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", "porch")
    spool.create()
    recorder = Recorder(record_path=spool.path, keep="sounds", pre_roll=0, post_roll=0.5, record_period=1.0)
    with contextlib.closing(Catalog(tmp_path / "catalog.db")) as catalog:
        policy = make_policy(spool, catalog, Archive(), recorder, -30.0)
        for seq in range(4):
            chunk = make_chunk(seq)
            assert chunk.levels is not None
            catalog.registration.add_chunks(
                [replace(chunk, levels=replace(chunk.levels, lafmax=-25.0 if seq == 0 else -40.0))]
            )
            policy.apply(chunk.ended_at)
            ready = policy.ready_to_plan(catalog.queue.waiting(1))
            if ready:
                plan = make_plan(ready, {}, Destination("bucket", "imhearing/", "porch"))
                catalog.plans.commit(plan.archive(START), plan.members, plan.manifest)
        assert [row.gone for row in catalog.chunks_between(FIRST, LAST, 9)] == [None, None, "quiet", "quiet"]


def test_a_chunk_without_levels_is_kept(tmp_path: Path) -> None:
    spool, recorder = Spool(tmp_path / "spool", "porch"), Recorder(keep="sounds")
    spool.create()
    with contextlib.closing(Catalog(tmp_path / "catalog.db")) as catalog:
        catalog.registration.add_chunks([replace(make_chunk(0), levels=None)])
        make_policy(spool, catalog, Archive(), recorder, -30.0).apply(Instant(START + 3600 * SECOND))
        assert [row.gone for row in catalog.chunks_between(FIRST, LAST, 99)] == [None]
