"""The sound of a range as a stream of WAV, FLAC or Opus: exactly cut, checked by SHA-256, silent where there is none.

This process brings the chunks; a child (`encoder`) decodes and encodes them, so that the memory is given back.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from edge.core import wire
from edge.core.errors import FetchError
from edge.core.ids import stream_of
from edge.core.instant import Instant
from edge.core.scratch import scratch
from query_service.client.paging import NodeClient, coverage_pages
from query_service.queries.values import Pending, Recorded
from query_service.sound.child import SoundChild, sound_child
from query_service.sound.download import downloads
from query_service.sound.encoder_messages import DONE, Output, Silence, Take
from query_service.sound.fetching import Fetching, Placed, Step
from query_service.sound.layout import OPUS_RATES, Layout, Part, SoundChanges, lay_out
from query_service.sound.wav import ByteRange, WavFile

Kind = Literal["wav", "flac", "opus"]
BitsOf = Callable[[Iterable[str]], Awaitable[Mapping[str, int]]]  # of streams, by their ID

MEDIA_TYPES: dict[Kind, str] = {"wav": "audio/wav", "flac": "audio/flac", "opus": "audio/ogg"}
_ENCODINGS: dict[Kind, str] = {"wav": "RAW", "flac": "FLAC", "opus": "OGG"}
_ENCODER = "query_service.sound.encoder"
_PIECE = 65_536  # bytes
_TIMEOUT = 30.0  # seconds for a page of the coverage


class UnsupportedRate(FetchError):
    """Opus has no such rate."""


class RangeFile(NamedTuple):
    """What the file of a range will be."""

    kind: Kind
    layout: Layout
    bits: int

    @property
    def wav(self) -> WavFile:
        return WavFile(self.layout.rate, self.layout.channels, self.bits, self.layout.frames)


class StreamSource(NamedTuple):
    """Where the sound comes from. `ca_file` as for `downloads`."""

    client: NodeClient
    bits_of: BitsOf
    ca_file: str = ""

    async def file(self, kind: Kind, start: Instant, end: Instant) -> RangeFile:
        """Raises NoSound, SoundEncrypted, SoundChanges, UnsupportedRate, QueryRefused, DoorError."""
        placed: list[Placed] = []
        async for page in coverage_pages(self.client, start, end, _TIMEOUT, urls=True):
            placed += [Placed(interval, page.archives) for interval in page.intervals]
        layout = lay_out(start, placed)
        if kind == "opus" and layout.rate not in OPUS_RATES:
            rates = ", ".join(map(str, OPUS_RATES))
            raise UnsupportedRate(f"Opus has no rate of {layout.rate} Hz, only {rates}; choose flac or wav")
        return RangeFile(kind, layout, await self._bits(layout))

    async def _bits(self, layout: Layout) -> int:
        sounds = [part.interval for part in layout.parts if isinstance(part.interval, Recorded | Pending)]
        bits = await self.bits_of({stream_of(sound.chunk_id) for sound in sounds})
        first = bits[stream_of(sounds[0].chunk_id)]
        for sound in sounds:
            if (other := bits[stream_of(sound.chunk_id)]) != first:
                raise SoundChanges(sound.from_, f"{first} bit", f"{other} bit")
        return first

    async def read(self, file: RangeFile, wanted: ByteRange | None = None) -> AsyncGenerator[bytes, None]:
        """The bytes of the file; of a WAV file, those in `wanted` alone. FetchError where a chunk cannot be had."""
        if file.kind != "wav":
            async with contextlib.aclosing(self._encoded(file, 0, file.layout.frames)) as pieces:
                async for piece in pieces:
                    yield piece
            return
        wav = file.wav
        wanted = wanted or ByteRange(0, wav.size)
        if head := wav.header[wanted.first : wanted.end]:
            yield head
        first, end, skip = wav.frames_of(wanted)
        left = wanted.end - wanted.first - len(head)
        async with contextlib.aclosing(self._encoded(file, first, end)) as pieces:
            async for piece in pieces:
                taken = piece[skip : skip + left]
                skip = max(0, skip - len(piece))
                left -= len(taken)
                if taken:
                    yield taken
        if left:
            yield bytes(left)  # the padding

    async def _encoded(self, file: RangeFile, first: int, end: int) -> AsyncGenerator[bytes, None]:
        """What the encoder makes of frames `first` to `end` (exclusive)."""
        if first >= end:
            return
        output = Output(_ENCODINGS[file.kind], file.layout.rate, file.layout.channels, file.bits, end - first)
        async with contextlib.AsyncExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="imhearing-audio-", dir=scratch()))
            downloader = await stack.enter_async_context(downloads(self.ca_file))
            encoder = await stack.enter_async_context(sound_child(_ENCODER, output))
            fetching = Fetching(self.client, downloader, Path(folder), _TIMEOUT)
            parts = file.layout.between(first, end)
            feeding = asyncio.create_task(_feed(encoder, fetching, parts))
            stack.callback(feeding.cancel)
            while piece := await encoder.stdout.read(_PIECE):
                yield piece
            await feeding


async def _feed(encoder: SoundChild, fetching: Fetching, parts: tuple[Part, ...]) -> None:
    async def intervals() -> AsyncIterator[Placed]:
        for part in parts:
            yield Placed(part.interval, part.archives)

    try:
        waiting = iter(parts)
        async for step in fetching.bring(intervals()):
            encoder.stdin.write(wire.encode(_order(next(waiting), step)) + b"\n")
            await encoder.stdin.drain()
            said = await encoder.stderr.readline()
            if said != DONE:
                raise FetchError(said.decode(errors="replace").strip() or "the encoder ended")
    except (ConnectionError, FetchError):
        encoder.kill()  # a file that is cut short must not look whole
        raise
    encoder.stdin.close()


def _order(part: Part, step: Step) -> Take | Silence:
    path, interval = step.sound.result(), part.interval
    if not isinstance(interval, Recorded | Pending):
        return Silence(part.frames)
    if path is None:
        raise FetchError(f"{interval.chunk_id}: its sound left the node a moment ago; ask again")
    return Take(str(path), interval.cut.first, part.frames, interval.chunk_id)
