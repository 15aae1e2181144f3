"""`imhearing calibrate` on a virtual microphone: a 94 dB tone is played, and levels are dBA from then on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edge.configuration import calibration_file
from edge.core.errors import CalibrationError
from edge.core.instant import Instant
from edge.recorder.capture import gain
from tests.support.recording.microphone import VirtualMicrophone
from tests.support.recording.recorder_process import running_recorder
from tests.support.wait import DEADLINE, wait_until

MADE = calibration_file.Calibration(
    device="USB Audio (hw:1,0)", at=Instant(0), method="calibrator", offset_db=114.2, uncertainty_db=0.5
)


@pytest.fixture
def tone(room: VirtualMicrophone, tmp_path: Path) -> Iterator[VirtualMicrophone]:
    """A calibrator: 1 kHz at -26 dB of full scale, which is -26 dBFS for a sine."""
    time = np.arange(48_000 * 60) / 48_000
    soundfile.write(tmp_path / "tone.wav", 10 ** (-26 / 20) * np.sin(2 * np.pi * 1000 * time), 48_000, subtype="PCM_16")
    player = room.play(tmp_path / "tone.wav")
    try:
        wait_until(lambda: room.run("pactl", "list", "short", "sink-inputs").strip(), "it plays")
        yield room
    finally:
        player.terminate()
        player.wait(DEADLINE)


def imhearing(room: VirtualMicrophone, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "imhearing", *words], env=os.environ | room.environment, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip


def test_levels_are_in_dba_after_a_calibration(tone: VirtualMicrophone, tmp_path: Path) -> None:
    data = tmp_path / "data"
    done = imhearing(tone, "calibrate", "--data", str(data), "--seconds", "4", "--json", "--set",
                     "recorder.source=microphone")  # fmt: skip
    assert done.returncode == 0, done.stderr
    kept = json.loads(done.stdout)
    assert kept["offset_db"] == pytest.approx(120, abs=0.2)
    options = ("recorder.source=microphone", "recorder.record_period=2", "mqtt.host=127.0.0.1", "mqtt.port=1")
    with running_recorder(data, *options, environment=tone.environment) as recorder:
        recorder.wait_until_recording()
        wait_until(lambda: len(recorder.spool.chunks.finished()) >= 2, "two chunks")
        manifest = recorder.spool.chunks.manifest(sorted(recorder.spool.chunks.finished())[1])
        assert recorder.end() == 0
    assert manifest.levels is not None
    assert (manifest.levels.unit, manifest.levels.calibrated) == ("dBA", True)
    assert manifest.levels.laeq == pytest.approx(94, abs=0.2)
    assert recorder.spool.streams.read(manifest.stream_id).calibration_db == kept["offset_db"]


def test_a_calibration_without_the_tone_saves_nothing(room: VirtualMicrophone, tmp_path: Path) -> None:
    done = imhearing(
        room, "calibrate", "--data", str(tmp_path), "--seconds", "1", "--set", "recorder.source=microphone"
    )
    assert done.returncode == 1
    assert "switch the calibrator on" in done.stderr
    assert not list(tmp_path.rglob("calibration.json"))
    done = imhearing(room, "calibrate", "--data", str(tmp_path), "--set", "recorder.source=synthetic")
    assert (done.returncode, "no microphone to calibrate" in done.stderr) == (2, True)


def test_the_input_gain_is_shown_and_can_be_set(room: VirtualMicrophone, tmp_path: Path) -> None:
    done = imhearing(room, "devices", "--data", str(tmp_path))
    assert "gain 100 %\n" in done.stdout
    imhearing(room, "calibrate", "--data", str(tmp_path), "--gain", "50", "--seconds", "1", "--set",
              "recorder.source=microphone")  # fmt: skip
    assert "gain 50 %" in imhearing(room, "devices", "--data", str(tmp_path)).stdout
    room.run("pactl", "set-source-volume", "room.monitor", "100%")


def test_the_capture_gain_of_a_usb_card_is_parsed() -> None:
    output = """\
Simple mixer control 'Speaker',0
  Capabilities: pvolume pswitch
  Front Left: Playback 20 [54%] [-17.00dB] [on]
Simple mixer control 'Mic',0
  Capabilities: pvolume pvolume-joined cvolume cvolume-joined pswitch pswitch-joined cswitch cswitch-joined
  Limits: Playback 0 - 32 Capture 0 - 35
  Mono: Playback 16 [50%] [-8.00dB] [off] Capture 25 [71%] [13.00dB] [off]
"""
    found = gain.preferred(list(gain.controls(output)))
    assert found == gain.Gain("'Mic',0", 71, 13.0, False)
    assert str(found) == "gain 71 % (+13.0 dB), switched off"
    assert list(gain.controls("")) == []
    assert gain.read_gain("no card at all") is None


def test_a_calibration_follows_its_card_to_another_number(tmp_path: Path) -> None:
    calibration_file.save(tmp_path, MADE)
    assert calibration_file.offset_for(tmp_path, "USB Audio (hw:1,0)") == 114.2
    assert calibration_file.offset_for(tmp_path, "USB Audio (hw:3,0)") == 114.2
    assert calibration_file.offset_for(tmp_path, "Other Audio (hw:1,0)") is None


def test_each_microphone_keeps_its_own_calibration(tmp_path: Path) -> None:
    other = calibration_file.Calibration(
        device="USB Audio (hw:2,0)", at=Instant(1), method="known_level", offset_db=90.0, uncertainty_db=1.5
    )
    for one in (MADE, other, MADE):
        calibration_file.save(tmp_path, one)
    assert sorted(calibration_file.load(tmp_path)) == ["USB Audio (hw:1,0)", "USB Audio (hw:2,0)"]
    assert calibration_file.offset_for(tmp_path, "USB Audio (hw:2,0)") == 90.0
    assert calibration_file.offset_for(tmp_path, "USB Audio (hw:5,0)") is None  # which of the two?


@pytest.mark.parametrize("text", ["", "{", '{"calibrations": [1]}', '{"calibrations": [{"device": "x"}]}'])
def test_a_damaged_calibration_file_is_logged_and_ignored(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "calibration.json").write_text(text)
    with pytest.raises(CalibrationError, match=r"calibration\.json: is damaged"):
        calibration_file.load(tmp_path)
    assert calibration_file.offset_for(tmp_path, "x") is None
    assert "reporting levels in dBFS" in caplog.text
