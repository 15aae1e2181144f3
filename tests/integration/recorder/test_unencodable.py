"""A source that the encoder refuses, and files in the spool that cannot be repaired, never keep a recorder from
recording."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edge.core.ids import chunk_id
from edge.core.values import SpoolState
from edge.spool.spool import Spool
from tests.support.nodes.breakable_node import BreakableNode
from tests.support.recording.recorder_process import running_recorder
from tests.support.spool.chunks import BOOT, START, STREAM, make_stream
from tests.support.spool.recorded import streams_of
from tests.support.wait import DEADLINE, wait_until

ALONE = ("mqtt.host=127.0.0.1", "mqtt.port=1")


@pytest.fixture
def node() -> Iterator[BreakableNode]:
    with tempfile.TemporaryDirectory(prefix="imhearing-node-") as name:
        yield BreakableNode(Path(name))


def ten_channels(path: Path, container: str = "WAV", rate: int = 16_000) -> Path:
    samples = np.random.default_rng(1).integers(-9_000, 9_000, (rate * 2, 10), dtype=np.int16)
    soundfile.write(path, samples, rate, format=container)
    return path


def beyond_repair(spool: Spool) -> Path:
    """A part of which sound can be read that its stream's encoder refuses."""
    spool.create()
    spool.streams.write(make_stream(rate=16_000, channels=10, chunk_frames=160_000))
    state = SpoolState(state="recording", since=START, boot_id=BOOT, ordinal=1, stream_id=STREAM, knot=(0, START))
    spool.state.write(state)
    return ten_channels(spool.layout.part_path(chunk_id(STREAM, 0), "flac"))


def test_a_source_with_too_many_channels_for_flac_is_refused_and_leaves_no_part(tmp_path: Path) -> None:
    source = ten_channels(tmp_path / "ten.wav")
    options = (f"recorder.source={source}", "recorder.pace=max", *ALONE)
    with running_recorder(tmp_path / "data", *options) as recorder:
        assert recorder.process.wait(DEADLINE) == 1
        assert "FLAC takes at most 8 channels, not 10; set [recorder] format = wav" in recorder.log
        assert recorder.spool.chunks.parts() == []
        state = recorder.spool.state.read()
        assert state is not None
        assert (state.state, state.stream_id) == ("no_device", None)
    with running_recorder(tmp_path / "data", *options, "recorder.format=wav") as recorder:
        wait_until(lambda: "played to its end" in recorder.log, "the file is recorded")
        assert recorder.end() == 0
    [stream] = streams_of(recorder.spool)
    assert stream.channels == 10


@pytest.mark.parametrize("bits", [16, 17])
def test_a_part_that_cannot_be_repaired_is_set_aside_and_recording_continues(tmp_path: Path, bits: int) -> None:
    """17: a record of a stream that this version cannot even have written, for which the repair is not prepared."""
    spool = Spool(tmp_path / "data" / "spool", "porch")
    part = beyond_repair(spool)
    spool.streams.write(make_stream(rate=16_000, channels=10, chunk_frames=160_000, bits=bits))
    content = part.read_bytes()
    with running_recorder(tmp_path / "data", "recorder.source=synthetic", *ALONE) as recorder:
        wait_until(lambda: spool.chunks.finished() or _is_recording(spool), "it records")
        assert recorder.end() == 0
        assert f"set aside as {part.name}.damaged" in recorder.log
    assert [path.read_bytes() for path in spool.chunks.damaged_parts()] == [content]
    assert not spool.chunks.leftovers()


def test_a_part_that_was_set_aside_is_a_gap(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "data" / "spool", "porch")
    beyond_repair(spool)
    with running_recorder(tmp_path / "data", "recorder.source=synthetic", *ALONE) as recorder:
        wait_until(lambda: _is_recording(spool), "it records")
        assert recorder.end() == 0
    holes = [hole for stream in streams_of(spool) for hole in stream.before]
    assert [(hole.from_, hole.cause) for hole in holes] == [(START, "power")]


def _is_recording(spool: Spool) -> bool:
    state = spool.state.read()
    return state is not None and state.state == "recording" and state.stream_id not in (None, STREAM)


def test_doctor_reports_parts_set_aside_until_they_are_moved_away(node: BreakableNode) -> None:
    spool = Spool(node.data / "spool", "porch")
    part = beyond_repair(spool)
    part.rename(part.with_name(f"{part.name}.damaged"))
    before = node.run_checks("spool")["spool.damaged"]
    assert before.state == "warning"
    assert part.name in before.message
    assert node.apply_remedy(before).returncode == 0
    assert node.run_checks("spool")["spool.damaged"].state == "ok"
    assert [path.name for path in (node.data / "spool-damaged").iterdir()] == [f"{part.name}.damaged"]


def test_doctor_accepts_a_spool_with_nothing_set_aside(node: BreakableNode) -> None:
    Spool(node.data / "spool", "porch").create()
    assert node.run_checks("spool")["spool.damaged"].state == "ok"


def test_doctor_suggests_the_format_that_supports_all_channels(node: BreakableNode) -> None:
    node.set(f"recorder.source={ten_channels(node.data / 'ten.wav')}")
    before = node.run_checks("device")["device.records"]
    assert before.state == "fault"
    assert "at most 8 channels" in before.message
    assert node.apply_remedy(before).returncode == 0
    assert node.run_checks("device")["device.records"].state == "ok"


def test_up_refuses_too_many_channels_before_it_starts_anything(tmp_path: Path) -> None:
    source = ten_channels(tmp_path / "ten.wav")
    words = ["up", "--data", str(tmp_path / "data"), "--set", f"recorder.source={source}"]
    done = subprocess.run(
        [sys.executable, "-m", "imhearing", *words],
        capture_output=True, text=True, timeout=DEADLINE, check=False, env=dict(os.environ),
    )  # fmt: skip
    assert done.returncode == 1
    assert "FLAC takes at most 8 channels, not 10; set [recorder] format = wav" in done.stderr
    assert "Traceback" not in done.stderr
