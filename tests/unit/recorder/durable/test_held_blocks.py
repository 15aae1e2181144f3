"""What a crash left of the blocks held back: read as far as it is whole, and never the end of a start."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from edge.recorder.capture.blocks import Block
from edge.recorder.durable.held_blocks import HeldBlocks, HeldForm, StreamAt, found_in
from tests.support.spool.chunks import BOOT, STREAM

FRAMES = 100


def _record(kind: bytes, content: bytes) -> bytes:
    return struct.pack("<cI", kind, len(content)) + content


@pytest.fixture
def held(tmp_path: Path) -> Path:
    """The file of a recorder that was killed with one block held back."""
    blocks = HeldBlocks(lambda: tmp_path)
    samples = np.arange(FRAMES, dtype=np.int16).reshape(-1, 1)
    blocks.begin(HeldForm("porch", BOOT, "noise", 8_000, 1, 16), StreamAt(0, STREAM, 0), [Block(samples, 1_000)])
    blocks.close()
    return tmp_path / "held"


def test_the_blocks_come_back_as_they_were(held: Path) -> None:
    found = found_in(held.parent)
    assert found is not None
    [block] = found.blocks()
    assert block.captured_at == 1_000
    assert block.samples.tolist() == [[value] for value in range(FRAMES)]
    assert found.streams == [StreamAt(0, STREAM, 0)]


@pytest.mark.parametrize(
    "damage",
    [
        _record(b"B", b"abc"),
        _record(b"B", b"\0" * 15),
        _record(b"B", b""),
        _record(b"S", b'{"held_frame":-1,"stream_id":"../x","stream_frame":0}'),
        _record(b"S", b"{"),
        _record(b"?", b"x"),
        struct.pack("<cI", b"B", 2**32 - 1),
    ],
)
def test_a_damaged_record_is_the_end_of_the_file(held: Path, damage: bytes) -> None:
    """It once ended every start of the recorder."""
    block = held.read_bytes()[-FRAMES * 2 - 14 - 5 :]
    held.write_bytes(held.read_bytes() + damage + block)
    found = found_in(held.parent)
    assert found is not None
    assert len(list(found.blocks())) == 1
    assert len(found.streams) == 1


def test_blocks_held_after_a_crash_survive_the_next_one(held: Path) -> None:
    """The record that was being written is not in their way."""
    with held.open("ab") as file:
        file.write(_record(b"B", bytes(300))[:-7])
    found = found_in(held.parent)
    assert found is not None
    blocks = HeldBlocks(lambda: held.parent)
    blocks.resume(found)
    blocks.add(Block(np.ones((5, 1), np.int16), 2_000))
    blocks.close()
    again = found_in(held.parent)
    assert again is not None
    assert [block.captured_at for block in again.blocks()] == [1_000, 2_000]


@pytest.mark.parametrize(
    ("name", "value"), [("channels", 0), ("channels", 2**40), ("bits", 99), ("rate", 0), ("rate", -1)]
)
def test_a_file_of_an_impossible_source_is_discarded(held: Path, name: str, value: int) -> None:
    at_first = {"channels": 1, "bits": 16, "rate": 8_000}[name]
    data = held.read_bytes()
    form = data[5:].split(b"}")[0] + b"}"
    changed = form.replace(f'"{name}":{at_first}'.encode(), f'"{name}":{value}'.encode())
    held.write_bytes(_record(b"F", changed) + data[5 + len(form) :])
    assert found_in(held.parent) is None
    assert not held.exists()
