"""`imhearing play`, with a player that is a script: it keeps what it was to play."""

from __future__ import annotations

import hashlib
import io
import zlib
from pathlib import Path

import numpy as np
import pyrage
import pytest
import soundfile
from msgspec.structs import replace

from commands.play import PLAYERS
from edge.core.values import Encryption, Levels
from imhearing import main
from tests.support.nodes.query_node import QueryNode
from tests.support.spool.chunks import audio_bytes, make_chunk, put_chunk

RANGE = ("--from", "2026-03-03T22:00:01Z", "--to", "2026-03-03T22:00:07Z", "--utc")
LOUD_SECOND = 300  # after 22:00:00


@pytest.fixture
def node(tmp_path: Path) -> QueryNode:
    """Five seconds from 22:00:00 on, and a louder one five minutes later."""
    node = QueryNode(tmp_path / "node", chunks=5)
    chunk = make_chunk(LOUD_SECOND)
    levels = Levels("dBFS", False, -10.5, -8.0, -2.0, -9.0, -11.0, -12.0, (-10.5,))
    put_chunk(node.spool, replace(chunk, levels=levels), audio_bytes(LOUD_SECOND))
    return node


@pytest.fixture
def options(node: QueryNode, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Those that every command on the node has; its days are those of UTC."""
    monkeypatch.setenv("TZ", "UTC")
    return ["--data", str(node.settings.catalog.db_path.parent), "--set", "node.name=porch"]


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder with programs."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def install(programs: Path, name: str, code: int = 0) -> Path:
    """A player that keeps the file, and ends with that code; where it keeps it."""
    kept = programs.parent / f"{name}.wav"
    script = programs / name
    script.write_text(f'#!/bin/sh\nfor file in "$@"; do :; done\n/bin/cp "$file" {kept}\nexit {code}\n')
    script.chmod(0o755)
    return kept


def samples_of(node: QueryNode) -> np.ndarray:
    return np.concatenate(
        [soundfile.read(io.BytesIO(node.audio[name]), dtype="int16")[0] for name in sorted(node.audio)]
    )


def test_a_range_is_played_to_the_sample_and_its_gaps_are_said(
    node: QueryNode, options: list[str], programs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = install(programs, "paplay")
    assert main(["play", *options, *RANGE]) == 0
    played, rate = soundfile.read(kept, dtype="int16")
    np.testing.assert_array_equal(played[: 4 * rate], samples_of(node)[rate:])
    np.testing.assert_array_equal(played[4 * rate :], np.zeros(2 * rate))
    first, last = capsys.readouterr().err.splitlines()
    assert "no sound 22:00:05.000 to 22:00:07.000 (2.0 s): gap, unknown; filled with silence" in first
    assert last == "playing 2026-03-03 22:00:01 to 22:00:07 with paplay"


def test_the_loudest_minute_of_a_day_is_found_and_played(
    options: list[str], programs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = install(programs, "mpv")
    assert main(["play", *options, "--loudest", "2026-03-03", "--gaps", "skip", "--utc"]) == 0
    played, _ = soundfile.read(kept, dtype="int16")
    expected, _ = soundfile.read(io.BytesIO(audio_bytes(LOUD_SECOND)), dtype="int16")
    np.testing.assert_array_equal(played, expected)
    assert "the loudest minute: 2026-03-03 22:05:00 to 22:06:00, LAeq -10.5 dBFS" in capsys.readouterr().err


def test_the_first_player_of_the_list_that_is_there_is_used(options: list[str], programs: Path) -> None:
    install(programs, PLAYERS[-1][0])
    first = install(programs, PLAYERS[2][0])
    assert main(["play", *options, *RANGE]) == 0
    assert [file.name for file in programs.parent.glob("*.wav")] == [first.name]


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        ((*RANGE, "--gaps", "refuse"), 1, "there is no sound to fetch: gap, unknown"),
        ((*RANGE, "--identity", "/nowhere.txt"), 1, "/nowhere.txt: cannot be read"),
        (("--loudest", "2026-03-02"), 1, "--loudest 2026-03-02: nothing was recorded on that day"),
        (("--loudest", "noon"), 2, "'noon' is not a day; try today, yesterday or 2026-03-03"),
        (("--loudest", "2099-01-01"), 2, "'2099-01-01' has not begun"),
        (("--loudest", "today", "--last", "1m"), 2, "--loudest cannot be combined with --from, --to and --last"),
        ((), 2, "missing time range"),
    ],
)
def test_what_cannot_be_played_is_said_plainly(
    options: list[str],
    programs: Path,
    arguments: tuple[str, ...],
    code: int,
    expected: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    kept = install(programs, "mpv")
    assert main(["play", *options, *arguments]) == code
    assert expected in capsys.readouterr().err
    assert not kept.exists()


def test_without_a_player_the_message_says_which_there_are(
    options: list[str], programs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not list(programs.iterdir())
    assert main(["play", *options, *RANGE]) == 1
    said = capsys.readouterr().err
    assert "no player is installed: install one of mpv, ffplay, " in said
    assert "`imhearing fetch -o FILE`" in said


def test_a_player_that_fails_is_named(options: list[str], programs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    install(programs, "aplay", code=3)
    assert main(["play", *options, *RANGE]) == 1
    assert "aplay failed (exit code 3); is there a loudspeaker here?" in capsys.readouterr().err


def test_encrypted_sound_is_played_with_its_key(
    options: list[str], node: QueryNode, programs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = pyrage.x25519.Identity.generate()
    for name, plain in node.audio.items():
        data = pyrage.encrypt(plain, [key.to_public()])
        chunk = replace(
            node.spool.chunks.manifest(name),
            bytes=len(data), sha256=hashlib.sha256(data).hexdigest(), crc32=zlib.crc32(data),
            encryption=Encryption((str(key.to_public()),), hashlib.sha256(plain).hexdigest()),
        )  # fmt: skip
        node.spool.chunks.remove(name)
        put_chunk(node.spool, chunk, data)
    (tmp_path / "key.txt").write_text(f"{key}\n")
    kept = install(programs, "mpv")
    assert main(["play", *options, *RANGE]) == 1
    assert "--identity" in capsys.readouterr().err
    assert main(["play", *options, *RANGE, "--identity", str(tmp_path / "key.txt")]) == 0
    played, rate = soundfile.read(kept, dtype="int16")
    np.testing.assert_array_equal(played[: 4 * rate], samples_of(node)[rate:])
