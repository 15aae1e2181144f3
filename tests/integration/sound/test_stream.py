"""Sound as a stream of bytes, from a real S3 server and a real spool: the same samples as `fetch` writes."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edge.configuration.settings import Settings
from edge.core.errors import FetchError
from query_service import api
from query_service.answer.node_answers import NodeAnswers
from query_service.sound.layout import NoSound
from query_service.sound.stream import Kind, RangeFile, StreamSource
from query_service.sound.wav import ByteRange
from tests.support.nodes.query_node import QueryNode
from tests.support.spool.chunks import RATE, at
from tests.support.store.s3 import RunningStore


def streamed(
    settings: Settings, kind: Kind, start: float, end: float, wanted: ByteRange | None = None
) -> tuple[RangeFile, bytes]:
    async def run() -> tuple[RangeFile, bytes]:
        answers = NodeAnswers(settings)
        try:
            source = StreamSource(answers.inside, answers.bits_of)
            file = await source.file(kind, at(start), at(end))
            return file, b"".join([piece async for piece in source.read(file, wanted)])
        finally:
            await answers.close()

    return asyncio.run(run())


@pytest.mark.parametrize("kind", ["wav", "flac"])
@pytest.mark.parametrize(("start", "end"), [(0, 10), (1.5, 8.25), (-2, 3), (6.999_999, 7.000_126)])
def test_a_stream_holds_the_same_samples_as_fetch_writes(
    settings: Settings, tmp_path: Path, kind: Kind, start: float, end: float
) -> None:
    api.fetch(settings, "local", at(start), at(end), tmp_path / "fetched.wav")
    expected, _ = soundfile.read(tmp_path / "fetched.wav", dtype="int16")
    file, data = streamed(settings, kind, start, end)
    with soundfile.SoundFile(io.BytesIO(data)) as stream:
        assert stream.frames == file.layout.frames == len(expected)
        np.testing.assert_array_equal(stream.read(dtype="int16"), expected)
    if kind == "wav":
        assert data == (tmp_path / "fetched.wav").read_bytes()
        assert file.wav.size == len(data)


@pytest.mark.parametrize(
    "wanted", [(0, 1), (0, 44), (43, 45), (44, 46), (45, 46), (1_001, 30_002), (15_000, 16_045), (-1, None)]
)
def test_any_bytes_of_a_wav_stream_are_those_of_the_whole(settings: Settings, wanted: tuple[int, int | None]) -> None:
    file, data = streamed(settings, "wav", -1, 10)
    first, end, _ = slice(*wanted).indices(file.wav.size)
    _, part = streamed(settings, "wav", -1, 10, ByteRange(first, end))
    assert part == data[first:end]


@pytest.mark.parametrize(("start", "end"), [(0, 5), (-1, 2.5), (1.234_5, 2.000_125)])
def test_a_stream_of_opus_says_itself_that_it_lasts_as_long_as_its_range(
    settings: Settings, start: float, end: float
) -> None:
    file, data = streamed(settings, "opus", start, end)
    with soundfile.SoundFile(io.BytesIO(data)) as stream:
        assert stream.frames == file.layout.frames == round((end - start) * RATE)
    # RFC 7845, 4: the last page's position, without what a player skips, is the length at 48 kHz
    head, last = data.index(b"OpusHead"), data.rindex(b"OggS")
    skipped = int.from_bytes(data[head + 10 : head + 12], "little")
    position = int.from_bytes(data[last + 6 : last + 14], "little", signed=True)
    assert position - skipped == file.layout.frames * 48_000 // RATE


def test_a_range_without_sound_has_no_stream(settings: Settings) -> None:
    with pytest.raises(NoSound):
        streamed(settings, "flac", -5, -1)


def test_wrong_bytes_in_the_store_end_a_stream_instead_of_being_played(
    settings: Settings, node: QueryNode, store: RunningStore
) -> None:
    [archive] = [path for path in store.folder.rglob("*.zip") if sorted(node.audio)[0][:22] in path.name][:1]
    data = bytearray(archive.read_bytes())
    data[len(data) // 4] ^= 1
    archive.write_bytes(data)
    with pytest.raises(FetchError, match="SHA-256"):
        streamed(settings, "wav", 0, 10)
