"""A garden's year as pictures show it: levels by a made-up day, and five minutes of real sound at yesterday's dawn."""

from __future__ import annotations

import contextlib
import io
import math
import random
import time
from collections.abc import Iterator
from pathlib import Path

import soundfile
from msgspec.structs import replace

from edge.archiver.plan.plan import Destination, make_plan
from edge.catalog import Catalog
from edge.configuration.settings import Http, Query, Secret, Settings, Thresholds
from edge.core.ids import sound_id
from edge.core.instant import Instant
from edge.core.values import Chunk, Hole, Levels, SoundSpan
from edge.embedded import ports
from edge.recorder.capture.scene import Scene
from tests.support.archiver.running import running_archiver
from tests.support.messaging.own_broker import running_own_broker
from tests.support.nodes.acting_node import running_recorder
from tests.support.nodes.query_node import QueryNode, running_service
from tests.support.spool.chunks import SECOND, make_chunk, make_stream, put_chunk
from tests.support.store.s3 import running_store
from tests.support.wait import wait_until

KEY = "the key of the node"
DAYS = 300
RATE = 48_000
BYTES = 50_000  # of a second's FLAC
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAWN = 5 * 60 + 41  # minute of the day from which on there is real sound
HEARD = 5  # minutes of it
YESTERDAY = Instant((int(time.time()) // 86_400 - 1) * 24 * HOUR)
BREAKS = (range(130, 143), range(1_080, 1_120))  # minutes of yesterday without sound: the power failed, then a pause


@contextlib.contextmanager
def running_garden(folder: Path) -> Iterator[Settings]:
    """All of the node runs, and records the synthetic scene."""
    with running_store() as store, running_own_broker() as broker:
        node = QueryNode(folder, chunks=0)
        _add_year(node)
        _add_yesterday(node)
        dawn = [name for name in node.audio if "-dawn-" in name]
        node.archive(store.settings, sorted(dawn))
        made = node.with_doors(mqtt=broker.settings, s3=store.settings)
        settings = replace(
            made,
            recorder=replace(made.recorder, source="synthetic", record_period=5.0),
            thresholds=Thresholds(records_count=4, sound_level=-40.0),
            http=Http(port=ports.choose(None), owner_key=Secret("the key of the owner")),
            query=Query(cursor_key=Secret(KEY)),
        )
        (folder / "spool" / "state.json").unlink()  # of a recorder that records: none does yet
        with running_recorder(settings), running_archiver(settings), running_service(settings):
            wait_until(lambda: ports.answers(settings.http.port), "the page can be opened")
            yield settings


def _add_year(node: QueryNode) -> None:
    """Hours without levels; now and then one is missing, or a summer's fortnight."""
    chance = random.Random(16)
    for day in range(DAYS, 1, -1):
        if 160 < day < 172:
            continue
        start = Instant(YESTERDAY - (day - 1) * 24 * HOUR)
        lost = chance.randrange(24) if chance.random() < 0.08 else None
        hours = [hour for hour in range(24) if hour != lost]
        with_sound = chance.random() < 0.6
        _add_stored(node, "year", start, [_hour(start, hour, with_sound and hour == 6) for hour in hours], 3_600)


def _hour(start: Instant, hour: int, with_sound: bool) -> Chunk:
    name = _stream_name(start, "year")
    first = hour * 3_600 * RATE
    sounds = (SoundSpan(sound_id(name, first), first, RATE, -35.0, -42.0),) if with_sound else ()
    chunk = make_chunk(hour, b"x", stream_id=name, start=start, seconds=3_600, sounds=sounds)
    return replace(chunk, levels=None, rate=RATE, frames=3_600 * RATE, first_frame=first, bytes=3_600 * BYTES)


def _add_yesterday(node: QueryNode) -> None:
    """Minutes with the level of each second; at dawn, five of them with their sound."""
    chance = random.Random(23)
    dawn = range(DAWN, DAWN + HEARD)
    parts: list[tuple[str, range, Hole | None]] = [("nigh", range(BREAKS[0].start), None)]
    parts.append(("morn", range(BREAKS[0].stop, DAWN), _hole("power", BREAKS[0])))
    parts.append(("dayt", range(dawn.stop, BREAKS[1].start), None))
    parts.append(("even", range(BREAKS[1].stop, 24 * 60), _hole("paused", BREAKS[1])))
    for letters, minutes, hole in parts:
        start = Instant(YESTERDAY + minutes.start * MINUTE)
        name = _stream_name(start, letters)
        chunks = [_minute(name, start, seq, minute, chance) for seq, minute in enumerate(minutes)]
        chunks[0] = replace(chunks[0], before=(hole,) if hole else ())
        _add_stored(node, letters, start, chunks, 60)
    _add_dawn(node, chance)


def _hole(cause: str, minutes: range) -> Hole:
    return Hole(cause, *(Instant(YESTERDAY + each * MINUTE) for each in (minutes.start, minutes.stop)))  # type: ignore[arg-type]


def _minute(name: str, start: Instant, seq: int, minute: int, chance: random.Random) -> Chunk:
    """Quiet nights, a dawn chorus, traffic by day, and a sound now and then."""
    hour = minute / 60
    usual = -66 + 8 * math.exp(-(((hour - 13) / 5) ** 2)) + 17 * math.exp(-(((hour - 5.8) / 0.7) ** 2))
    seconds = tuple(round(usual + chance.gauss(0, 1.2), 1) for _ in range(60))
    first = seq * 60 * RATE
    sounds: tuple[SoundSpan, ...] = ()
    loudest = max(seconds) + 4
    if chance.random() < (0.3 if 5 < hour < 7 else 0.02):
        loudest = round(chance.uniform(-38, -24), 1)
        at = first + chance.randrange(50) * RATE
        sounds = (SoundSpan(sound_id(name, at), at, chance.randrange(1, 8) * RATE, loudest, loudest - 6),)
    quiet, middle, loud = sorted(seconds)[6], sorted(seconds)[30], sorted(seconds)[54]
    levels = Levels("dBFS", False, middle, loudest, loudest + 9, loud, middle, quiet, seconds)
    chunk = make_chunk(seq, b"x", stream_id=name, start=start, seconds=60, sounds=sounds)
    return replace(chunk, levels=levels, rate=RATE, frames=60 * RATE, first_frame=first, bytes=60 * BYTES)


def _add_dawn(node: QueryNode, chance: random.Random) -> None:
    start = Instant(YESTERDAY + DAWN * MINUTE)
    name = _stream_name(start, "dawn")
    node.spool.streams.write(make_stream(name, rate=RATE, chunk_frames=60 * RATE, ordinal=9, knots=((0, start),)))
    scene = Scene(RATE, 1, 16)
    for seq in range(HEARD):
        file = io.BytesIO()
        soundfile.write(file, scene.render(seq * 60 * RATE, 60 * RATE), RATE, format="FLAC", subtype="PCM_16")
        described = _minute(name, start, seq, DAWN + seq, chance)
        chunk = make_chunk(seq, file.getvalue(), stream_id=name, start=start, seconds=60, sounds=described.sounds)
        chunk = replace(chunk, levels=described.levels, rate=RATE, frames=60 * RATE, first_frame=seq * 60 * RATE)
        node.audio[chunk.chunk_id] = file.getvalue()
        put_chunk(node.spool, chunk, file.getvalue())


def _add_stored(node: QueryNode, letters: str, start: Instant, chunks: list[Chunk], seconds: int) -> None:
    """Into the catalog, as archived; their sound is nowhere."""
    name, before = _stream_name(start, letters), chunks[0].before
    times: tuple[tuple[int, Instant], ...] = ((0, start),)
    stream = make_stream(
        name, rate=RATE, chunk_frames=seconds * RATE, knots=times, ordinal=start // HOUR, before=before
    )
    with contextlib.closing(Catalog(node.settings.catalog.db_path)) as catalog:
        catalog.open()
        catalog.registration.put_stream(stream)
        catalog.registration.add_chunks(chunks)
        plan = make_plan(chunks, {stream.stream_id: stream}, Destination("imhearing", "imhearing/", "porch"))
        catalog.plans.commit(plan.archive(chunks[-1].ended_at), plan.members, plan.manifest)
        catalog.plans.mark_uploaded(plan.archive_id, "0" * 64, chunks[-1].ended_at)


def _stream_name(start: Instant, letters: str) -> str:
    text = str(start)  # 2026-03-03T22:00:00.000000Z
    return f"{text[:10].replace('-', '')}T{text[11:19].replace(':', '')}Z-{letters}"
