"""A node with what the page can show: stored and pending sound, sounds, loud minutes of yesterday, eight channels, and
a day of every state."""

from __future__ import annotations

import io
import time
from pathlib import Path

import numpy as np
import soundfile
from msgspec.structs import replace

from edge.configuration.settings import S3
from edge.core.ids import chunk_id, sound_id
from edge.core.instant import Instant
from edge.core.values import Chunk, SoundSpan
from tests.support.nodes.eventful_node import EventfulNode
from tests.support.nodes.query_node import QueryNode
from tests.support.spool.chunks import RATE, SECOND, STREAM, audio_bytes, make_chunk, make_stream, put_chunk

MANY = 8  # channels
YESTERDAY = Instant((int(time.time()) // 86_400 - 1) * 86_400 * SECOND + 12 * 3_600 * SECOND)  # its noon, UTC
CHANNELS_AT = Instant.parse("2026-03-05T10:00:00Z")


def make_page_node(folder: Path, s3: S3) -> EventfulNode:
    """Twelve seconds from 22:00:00 on, three of them in the store, with a sound in each of the last two; two minutes of
    yesterday, the second one louder; a second of eight channels."""
    node = EventfulNode(folder, s3, chunks=10)
    for seq in (10, 11):
        first = seq * RATE
        span = SoundSpan(sound_id(STREAM, first), first, RATE // 2, -20.0 - seq, -30.0)
        _put(node, make_chunk(seq, sounds=(span,)), audio_bytes(seq))
    node.archive(s3, sorted(node.audio)[:3])
    _add_yesterday(node)
    _add_channels(node)
    return node


def _put(node: QueryNode, chunk: Chunk, data: bytes) -> None:
    node.audio[chunk.chunk_id] = data
    put_chunk(node.spool, chunk, data)


def _add_yesterday(node: QueryNode) -> None:
    stream = _name(YESTERDAY, "yest")
    node.spool.streams.write(make_stream(stream, ordinal=2, knots=((0, YESTERDAY),)))
    for seq, laeq in ((0, -50.0), (1, -25.0)):
        data = audio_bytes(100 + seq, 60 * RATE)
        chunk = make_chunk(seq, data, stream_id=stream, start=YESTERDAY, seconds=60)
        assert chunk.levels is not None
        _put(node, replace(chunk, levels=replace(chunk.levels, laeq=laeq, per_second=(laeq,) * 60)), data)


def _add_channels(node: QueryNode) -> None:
    stream = _name(CHANNELS_AT, "many")
    node.spool.streams.write(make_stream(stream, ordinal=3, channels=MANY, knots=((0, CHANNELS_AT),)))
    # each channel has a value of its own
    samples = np.tile(np.arange(1, MANY + 1, dtype=np.int16) * 1_000, (RATE, 1))
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format="FLAC", subtype="PCM_16")
    data = file.getvalue()
    chunk = make_chunk(0, data, stream_id=stream, start=CHANNELS_AT)
    _put(node, replace(chunk, channels=MANY, chunk_id=chunk_id(stream, 0)), data)


def _name(start: Instant, letters: str) -> str:
    text = str(start)  # 2026-03-05T10:00:00.000000Z
    return f"{text[:10].replace('-', '')}T{text[11:19].replace(':', '')}Z-{letters}"
