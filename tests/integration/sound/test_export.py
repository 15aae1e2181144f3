"""Exported files as other programs read them: every sample, the right time, place and node."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import soundfile
from guano import GuanoFile
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from commands import fetch as command
from commands.cli.parser import build_parser
from edge.configuration.settings import Node, Settings
from edge.core.errors import FetchError, UsageError
from edge.core.instant import Instant
from query_service import api
from query_service.sound.export import ExportReport, append_guano, export_sound, guano_chunk
from tests.support.messaging.realtime import in_loop
from tests.support.nodes.query_node import QueryNode
from tests.support.spool.chunks import RATE, STREAM, at, audio_bytes, make_chunk, put_chunk
from tests.support.store.s3 import RunningStore

HERE = Node("porch", latitude="52.52", longitude="-13.405", location="Back garden\n1.5 m above ground")


@pytest.fixture
def node(tmp_path: Path, store: RunningStore) -> QueryNode:
    """Six chunks of a second: four in an archive, two in the spool."""
    made = QueryNode(tmp_path, chunks=6)
    made.archive(store.settings, sorted(made.audio)[:4])
    return made


@pytest.fixture
def settings(node: QueryNode, store: RunningStore) -> Settings:
    return node.with_doors(s3=store.settings)


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


async def exported(settings: Settings, folder: Path, start: float, end: float, utc: bool = True) -> ExportReport:
    folder.mkdir(exist_ok=True)
    async with api.connect(settings, "local") as door:
        return await export_sound(door, at(start), at(end), folder, HERE, utc=utc)


@in_loop
async def test_each_chunk_is_exported_to_a_file_with_every_sample(
    node: QueryNode, settings: Settings, tmp_path: Path
) -> None:
    report = await exported(settings, tmp_path / "out", 0.5, 5.25)
    assert [file.path.name for file in report.files] == [f"porch_20260303_22000{second}.wav" for second in range(6)]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [file.path.name for file in report.files]
    for file, name in zip(report.files, sorted(node.audio), strict=True):
        heard, rate = soundfile.read(file.path, dtype="int16")
        recorded, _ = soundfile.read(io.BytesIO(node.audio[name]), dtype="int16")
        np.testing.assert_array_equal(heard, recorded)
        assert (rate, file.frames, file.chunk_id) == (RATE, RATE, name)
        assert int.from_bytes(file.path.read_bytes()[4:8], "little") == file.path.stat().st_size - 8
    assert [file.started_at for file in report.files] == [at(second) for second in range(6)]


@in_loop
async def test_exported_guano_metadata_contains_time_place_and_node(
    node: QueryNode, settings: Settings, tmp_path: Path
) -> None:
    report = await exported(settings, tmp_path / "out", 2.5, 3)
    read = GuanoFile(str(report.files[0].path), strict=True)
    assert read["GUANO|Version"] == "1.0"
    assert read["Timestamp"].timestamp() * 1e6 == at(2)
    assert read["Loc Position"] == (52.52, -13.405)
    assert (read["Serial"], read["ImHearing|Node"], read["ImHearing|Chunk"]) == ("porch", "porch", f"{STREAM}-000002")
    assert (read["Samplerate"], read["Length"], read["Make"]) == (RATE, 1.0, "Im Hearing")
    assert read["Note"] == "Back garden\n1.5 m above ground"
    assert read["ImHearing|LAeq dBFS"] == "-40.5"
    assert read["Original Filename"] == "porch_20260303_220002.wav"
    assert read.wav_params.framerate == RATE


@pytest.mark.usefixtures("zone")
@in_loop
async def test_exported_local_times_include_their_utc_offset(settings: Settings, tmp_path: Path) -> None:
    report = await exported(settings, tmp_path / "out", 0, 1, utc=False)
    assert report.files[0].path.name == "porch_20260303_230000.wav"
    stamp = GuanoFile(str(report.files[0].path))["Timestamp"]
    assert stamp.timestamp() * 1e6 == at(0)
    assert stamp.utcoffset() == timedelta(hours=1)


@in_loop
async def test_two_chunks_that_start_in_one_second_get_different_file_names(tmp_path: Path) -> None:
    made = QueryNode(tmp_path, chunks=1)
    data = audio_bytes(9, RATE // 4)
    for seq, start in ((0, at(2.1)), (0, at(2.6))):
        stream = f"20260303T22000{seq}Z-{'bcde' if start == at(2.1) else 'bcdf'}"
        chunk = replace(make_chunk(seq, data, stream_id=stream, start=start), frames=RATE // 4)
        put_chunk(made.spool, replace(chunk, ended_at=Instant(start + 250_000)), data)
    report = await exported(made.settings, tmp_path / "out", 0, 5)
    assert [file.path.name for file in report.files] == [
        "porch_20260303_220000.wav", "porch_20260303_220002.wav", "porch_20260303_220002_001.wav",
    ]  # fmt: skip
    assert report.holes


@in_loop
async def test_24_bit_stereo_is_exported_unchanged(tmp_path: Path) -> None:
    made = QueryNode(tmp_path, chunks=0)
    samples = np.random.default_rng(1).integers(-(2**22), 2**22, (RATE - 1, 2), dtype=np.int32) * 256
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format="FLAC", subtype="PCM_24")
    chunk = replace(make_chunk(0, file.getvalue()), frames=RATE - 1, channels=2)
    put_chunk(made.spool, chunk, file.getvalue())
    report = await exported(made.settings, tmp_path / "out", 0, 1)
    heard, _ = soundfile.read(report.files[0].path, dtype="int32")
    np.testing.assert_array_equal(heard, samples)
    assert GuanoFile(str(report.files[0].path))["ImHearing|Node"] == "porch"


@in_loop
async def test_an_empty_export_says_why_and_leaves_no_file(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match=r"nothing to export.*gap"):
        await exported(settings, tmp_path / "out", -20, -10)
    assert list((tmp_path / "out").iterdir()) == []


def test_the_export_command_writes_files_and_reports_them(
    node: QueryNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    words = ["fetch", "--data", str(tmp_path), "--from", "2026-03-03T22:00:04Z", "--to", "2026-03-03T22:00:06Z"]
    args = build_parser().parse_args([*words, "--utc", "--export", str(tmp_path / "out"), "--set", "node.name=porch"])
    assert command.run(args) == 0
    assert "2 files, porch_20260303_220004.wav to porch_20260303_220005.wav" in capsys.readouterr().err
    args.json = True
    assert command.run(args) == 0
    output = json.loads(capsys.readouterr().out)
    assert [Path(file["path"]).parent for file in output["files"]] == [tmp_path / "out"] * 2
    args.export = tmp_path / "nowhere"
    with pytest.raises(UsageError, match="mkdir"):
        command.run(args)


VALUES = st.text(st.characters(codec="utf-8"), max_size=40)


@given(st.dictionaries(st.sampled_from(["Note", "ImHearing|A", "ImHearing|B", "Make"]), VALUES))
def test_no_metadata_value_adds_a_line(fields: dict[str, str]) -> None:
    data = guano_chunk(fields)
    assert len(data) % 2 == 0
    lines = data.decode().rstrip(" ").splitlines()
    assert len(lines) == 1 + sum(bool(value) for value in fields.values())
    assert lines[0] == "GUANO|Version: 1.0"


def test_metadata_is_not_appended_to_a_file_that_is_not_wav(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    path.write_bytes(b"RF64" + bytes(40))
    with pytest.raises(FetchError, match="too large"):
        append_guano(path, {})
