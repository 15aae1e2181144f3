"""A node with a day of every state: corrected clock, gaps, a pause, an overlap, expired and encrypted sound."""

from __future__ import annotations

import contextlib
import hashlib
import io
import zlib
from pathlib import Path

import numpy as np
import pyrage
import soundfile
from msgspec.structs import replace

from edge.catalog import Catalog
from edge.configuration.settings import S3
from edge.core.instant import Instant
from edge.core.values import Chunk, Encryption, Hole, HoleCause, Stream
from edge.recorder.timing.clock import Belief
from edge.recorder.timing.correction import corrected_stream
from tests.support.nodes.query_node import QueryNode
from tests.support.spool.chunks import RATE, SECOND, audio_bytes, make_chunk, make_stream, put_chunk

NOON = Instant.parse("2026-03-04T12:00:00Z")
BEHIND = 3_600 * SECOND  # the first stream's clock, until it was corrected
ENCRYPTED = 60  # when that sound begins
RECIPIENT = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"


def after_noon(seconds: float) -> Instant:
    return Instant(NOON + round(seconds * SECOND))


class EventfulNode(QueryNode):
    """On 2026-03-04 from noon on, in seconds: 0 to 4 recorded by a clock that was an hour behind, half of it archived
    before the correction; 4 to 6 a gap; 6 to 8 recorded; 8 to 10 paused; 10 to 14 recorded by two streams, which both
    claim 12 to 13; 14 to 16 expired; 16 to 17 a gap; 17 to 19 pending; 19 to 60 a gap; 60 to 62 encrypted, half of
    it archived."""

    def __init__(self, folder: Path, s3: S3, chunks: int) -> None:
        super().__init__(folder, chunks)
        self._s3 = s3
        self._ordinal = 1
        self._pieces: dict[int, np.ndarray] = {}  # of what is heard, by the second in which it begins
        self._add_corrected()
        self.archive(s3, self._add("busy", 6, 2, ("overrun", 4)))
        self.archive(s3, self._add("over", 10, 3, ("paused", 8)))
        newer = self._add("lapp", 12, 4)  # its first second is heard instead of the older stream's
        self.archive(s3, newer)
        with self._catalog() as catalog:
            catalog.deletions.mark_gone(newer[2:], "lifecycle")
        for second in (14, 15):
            del self._pieces[second]
        self._add("last", 17, 2, ("crash", 16))
        self.archive(s3, self._add("lock", ENCRYPTED, 2, ("power", 19), encrypted=True)[:1])

    def heard(self, first: int, end: int) -> np.ndarray:
        """The samples from second `first` to second `end` after noon, silent where there are none."""
        silence = np.zeros(RATE, np.int16)
        return np.concatenate([self._pieces.get(second, silence) for second in range(first, end)])

    def _catalog(self) -> contextlib.closing[Catalog]:
        catalog = Catalog(self.settings.catalog.db_path)
        catalog.open()
        return contextlib.closing(catalog)

    def _add_corrected(self) -> None:
        stream = self._stream("late", Instant(NOON - BEHIND), (), uncertain=True)
        names = [self._put(stream, seq, seq, uncertain=True) for seq in range(4)]
        self.archive(self._s3, names[:2])
        corrected = corrected_stream(stream, Belief(BEHIND, trusted=True))
        self.spool.streams.write(corrected)
        with self._catalog() as catalog:
            catalog.registration.put_stream(corrected)

    def _add(
        self,
        letters: str,
        second: int,
        count: int,
        missing: tuple[HoleCause, int] | None = None,
        *,
        encrypted: bool = False,
    ) -> list[str]:
        """A stream of `count` seconds, after a hole that began at the second in `missing`; gives its chunks."""
        start = after_noon(second)
        before = () if missing is None else (Hole(missing[0], after_noon(missing[1]), start),)
        stream = self._stream(letters, start, before)
        return [self._put(stream, seq, second + seq, encrypted=encrypted) for seq in range(count)]

    def _stream(self, letters: str, start: Instant, before: tuple[Hole, ...], *, uncertain: bool = False) -> Stream:
        self._ordinal += 1
        text = str(start)  # 2026-03-04T12:00:00.000000Z
        name = f"{text[:10].replace('-', '')}T{text[11:19].replace(':', '')}Z-{letters}"
        stream = make_stream(name, ordinal=self._ordinal, knots=((0, start),), before=before, uncertain=uncertain)
        self.spool.streams.write(stream)
        with self._catalog() as catalog:
            catalog.registration.put_stream(stream)
        return stream

    def _put(self, stream: Stream, seq: int, second: int, *, uncertain: bool = False, encrypted: bool = False) -> str:
        data = audio_bytes(stream.ordinal * 100 + seq)
        before = stream.before if seq == 0 else ()
        chunk = make_chunk(
            seq, data, stream_id=stream.stream_id, start=stream.knots[0][1], uncertain=uncertain, before=before
        )
        if encrypted:
            # what the node could not open anyway
            chunk, data = _encrypted(chunk, data)
        else:
            self._pieces[second] = soundfile.read(io.BytesIO(data), dtype="int16")[0]
        self.audio[chunk.chunk_id] = data
        put_chunk(self.spool, chunk, data)
        return chunk.chunk_id


def _encrypted(chunk: Chunk, plain: bytes) -> tuple[Chunk, bytes]:
    data = pyrage.encrypt(plain, [pyrage.x25519.Recipient.from_str(RECIPIENT)])
    changed = replace(
        chunk,
        bytes=len(data), sha256=hashlib.sha256(data).hexdigest(), crc32=zlib.crc32(data),
        encryption=Encryption((RECIPIENT,), hashlib.sha256(plain).hexdigest()),
    )  # fmt: skip
    return changed, data
