"""The recorder as a process: 24 bit, few and many channels, slow and fast rates come out bit-exact."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.support.recording.recorder_process import running_recorder
from tests.support.spool.recorded import chunks_of, streams_of
from tests.support.wait import wait_until


@pytest.mark.parametrize("container", ["flac", "wav"])
@pytest.mark.parametrize(("rate", "channels"), [(192_000, 8), (8_000, 1), (11_025, 3)])
def test_24_bit_sound_is_recorded_bit_exactly(tmp_path: Path, rate: int, channels: int, container: str) -> None:
    shape = (rate * 5 // 2 + 123, channels)  # at 1 s each: two chunks and a last, short one
    played = np.random.default_rng(1).integers(-(2**23), 2**23, shape, dtype=np.int32) << 8
    soundfile.write(tmp_path / "played.wav", played, rate, subtype="PCM_24")
    options = (
        f"recorder.source={tmp_path / 'played.wav'}",
        "recorder.pace=max",
        "recorder.record_period=1",
        f"recorder.format={container}",
        "mqtt.host=127.0.0.1",
        "mqtt.port=1",
    )
    with running_recorder(tmp_path / "data", *options) as recorder:
        wait_until(lambda: "played to its end" in recorder.log, "the file is recorded")
        assert recorder.end() == 0
    [stream] = streams_of(recorder.spool)
    chunks = chunks_of(recorder.spool, stream.stream_id)
    assert [chunk.frames for chunk in chunks] == [rate, rate, rate // 2 + 123]
    paths = [recorder.spool.layout.audio_path(chunk) for chunk in chunks]
    for path in paths:
        kind = soundfile.info(path)
        assert (kind.format.lower(), kind.subtype, kind.samplerate) == (container, "PCM_24", rate)
    recorded = np.concatenate([soundfile.read(path, dtype="int32", always_2d=True)[0] for path in paths])
    assert np.array_equal(recorded, played)
