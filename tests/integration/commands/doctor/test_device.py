"""Faults of the microphone, its gain and the sound file: doctor names each, and its remedy fixes it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from commands.doctor import device
from commands.doctor.node_under_test import Finding
from edge.core.values import SpoolState
from edge.spool.spool import Spool
from tests.support.nodes.breakable_node import BreakableNode
from tests.support.nodes.doctor import assert_fault, assert_ok
from tests.support.recording.microphone import VirtualMicrophone, write_noise
from tests.support.spool.chunks import BOOT, START, STREAM, fill_spool, make_stream
from tests.support.wait import DEADLINE, wait_until


@pytest.fixture
def sound(
    room: VirtualMicrophone, node: BreakableNode, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[BreakableNode]:
    """A node with a microphone in a room where noise is played."""
    for key, value in room.environment.items():
        monkeypatch.setenv(key, value)
    node.set("recorder.source=microphone")
    write_noise(tmp_path / "noise.wav", 40, 1)
    player = room.play(tmp_path / "noise.wav")
    try:
        wait_until(lambda: room.run("pactl", "list", "short", "sink-inputs").strip(), "it plays")
        yield node
    finally:
        player.terminate()
        player.wait(DEADLINE)
        room.run("pactl", "set-source-mute", "room.monitor", "0")
        room.run("pactl", "set-source-volume", "room.monitor", "100%")


def test_a_misspelt_microphone_is_reported_and_fixed(sound: BreakableNode) -> None:
    sound.set("recorder.device=Blue Yeti")
    before = sound.run_checks("device")["device.records"]
    assert_fault(before, "'Blue Yeti'")
    assert sound.apply_remedy(before).returncode == 0
    found = sound.run_checks("device")
    assert {finding.state for finding in found.values()} == {"ok"}, found
    assert "48000 Hz, mono, 16 bits" in found["device.records"].message


def test_a_muted_microphone_is_reported_and_fixed(sound: BreakableNode, room: VirtualMicrophone) -> None:
    room.run("pactl", "set-source-mute", "room.monitor", "1")
    before = sound.run_checks("device")["device.level"]
    assert_fault(before, "digital silence")
    assert sound.apply_remedy(before).returncode == 0
    assert_ok(sound.run_checks("device")["device.level"])


def test_clipping_because_of_a_high_gain_is_reported_and_fixed(sound: BreakableNode, room: VirtualMicrophone) -> None:
    room.run("pactl", "set-source-volume", "room.monitor", "400%")
    before = sound.run_checks("device")["device.clipping"]
    assert_fault(before, "at full scale", "gain is too high")
    assert sound.apply_remedy(before).returncode == 0
    assert_ok(sound.run_checks("device")["device.clipping"])


def test_a_missing_sound_file_is_reported_and_fixed(node: BreakableNode) -> None:
    node.set(f"recorder.source={node.data}/garden.wav")
    before = node.run_checks("device")["device.records"]
    assert_fault(before, "garden.wav")
    assert node.apply_remedy(before).returncode == 0
    assert node.run_checks("device")["device.records"].state == "ok"


def test_a_microphone_in_use_by_the_recorder_is_no_fault(node: BreakableNode) -> None:
    node.set(f"recorder.source={node.data}/nothing.wav")  # cannot be opened a second time
    fill_spool(node.data / "spool", 1)
    spool = Spool(node.data / "spool", "porch")
    spool.state.write(SpoolState(state="recording", since=START, boot_id=BOOT, ordinal=1, stream_id=STREAM))
    for path in spool.path.iterdir():
        os.utime(path, (0, 0))
    assert node.run_checks("device")["device.records"].state == "fault"  # a recorder that died
    spool.layout.part_path(f"{STREAM}-000001", "flac").write_bytes(b"")
    with spool.recorder_lock.hold():
        found = node.run_checks("device")
    assert f"in use by the recorder: stream {STREAM}" in found["device.records"].message
    assert_ok(found["device.level"])


CARD = "USB Audio: - (hw:1,0)"
FAKE_AMIXER = """#!/bin/sh
echo "amixer $*" >>"{folder}/calls"
[ "$1 $2" = "-c 1" ] || exit 1
case "$3" in
    scontents) cat "{folder}/levels" ;;
    sset) sed -i 's/Capture 0 \\[0%\\]/Capture 28 [80%]/; s/\\[off\\]/[on]/' "{folder}/levels" ;;
esac
"""
SPEAKER = """\
Simple mixer control 'Speaker',0
  Capabilities: pvolume pswitch
  Front Left: Playback 20 [54%] [-17.00dB] [on]
"""
MIC = """\
Simple mixer control 'Front Mic',0
  Capabilities: cvolume cvolume-joined cswitch cswitch-joined
  Limits: Capture 0 - 35
  Mono: {value}
"""


@pytest.fixture
def mixer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """A card number 1, whose `amixer scontents` is what the test says."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "amixer").write_text(FAKE_AMIXER.format(folder=tmp_path))
    (programs / "amixer").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")

    def set_level(value: str) -> None:
        (tmp_path / "levels").write_text(SPEAKER + (MIC.format(value=value) if value else ""))

    return set_level


def gain_finding() -> Finding:
    (finding,) = device.check_gain(CARD)
    return finding


def test_the_input_gain_is_reported(mixer: Callable[[str], None]) -> None:
    mixer("Capture 25 [71%] [13.00dB] [on]")
    finding = gain_finding()
    assert (finding.check, finding.state) == ("device.gain", "ok")
    assert finding.message == "'Front Mic',0: gain 71 % (+13.0 dB)"


@pytest.mark.parametrize(
    ("value", "state", "fragment", "command", "after"),
    [
        ("Capture 25 [71%] [13.00dB] [off]", "fault", "switched off", "cap", "gain 71 % (+13.0 dB)"),
        ("Capture 0 [0%] [-12.00dB] [on]", "fault", "gain 0 %", "80% cap", "gain 80 %"),
        ("Capture 0 [0%]", "fault", "gain 0 %", "80% cap", "gain 80 %"),
        ("Capture 0 [0%] [-12.00dB] [off]", "fault", "switched off", "80% cap", "gain 80 %"),
        # the lowest of a card that only amplifies: quiet, not silent
        ("Capture 0 [0%] [0.00dB] [on]", "warning", "gain 0 %", "80% cap", "gain 80 %"),
    ],
)
def test_a_muted_or_zero_gain_is_reported_and_fixed(
    node: BreakableNode,
    mixer: Callable[[str], None],
    tmp_path: Path,
    value: str,
    state: str,
    fragment: str,
    command: str,
    after: str,
) -> None:
    mixer(value)
    before = gain_finding()
    assert (before.state, fragment in before.message) == (state, True)
    assert before.remedy == f"amixer -c 1 sset 'Front Mic,0' {command}"
    assert node.apply_remedy(before).returncode == 0
    assert f"amixer -c 1 sset Front Mic,0 {command}" in (tmp_path / "calls").read_text()
    assert (gain_finding().state, after in gain_finding().message) == ("ok", True)


def test_a_card_without_a_gain_control_has_no_finding(
    mixer: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mixer("")
    assert list(device.check_gain(CARD)) == []
    assert list(device.check_gain("USB Audio: - (hw:2,0)")) == []  # amixer fails
    assert list(device.check_gain("no card at all")) == []
    mixer("Capture 0 [0%] [on]")
    monkeypatch.setenv("PATH", str(tmp_path))  # no amixer
    assert list(device.check_gain(CARD)) == []


def test_the_gain_is_checked_while_the_recorder_has_the_card(node: BreakableNode, mixer: Callable[[str], None]) -> None:
    """The usual case: the recorder has the card, which cannot be opened a second time."""
    mixer("Capture 25 [71%] [13.00dB] [off]")
    node.set("recorder.source=microphone", "recorder.device=not to be opened here")
    fill_spool(node.data / "spool", 1)
    spool = Spool(node.data / "spool", "porch")
    spool.streams.write(make_stream(device=CARD))
    spool.state.write(SpoolState(state="recording", since=START, boot_id=BOOT, ordinal=1, stream_id=STREAM))
    spool.layout.part_path(f"{STREAM}-000001", "flac").write_bytes(b"")
    with spool.recorder_lock.hold():
        found = node.run_checks("device")
    assert found["device.records"].state == "ok"
    assert found["device.gain"].state == "fault"
