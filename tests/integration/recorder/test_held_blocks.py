"""Blocks held back during a stall survive a crash of the recorder: they are on tmpfs until they are in chunks."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge.core.values import PauseOrder
from edge.recorder.durable.sealing import file_system
from tests.support.kernel_clock import NOON
from tests.support.recording.rig import FRAMES, RATE, Rig

pytestmark = pytest.mark.skipif(file_system(Path("/dev/shm")) != "tmpfs", reason="there is no tmpfs at /dev/shm")
ENCODING = 4_096  # frames: the FLAC block that the encoder was filling
LOST = 3.0  # seconds that the sound card loses
Step = float | Callable[[], None]


@pytest.fixture
def rig(tmp_path: Path, shared_memory: Path) -> Rig:
    rig = Rig(tmp_path)
    rig.configure(part_path=str(shared_memory), record_period=60.0)
    return rig


def lose(rig: Rig) -> Callable[[], None]:
    return lambda: rig.clock.advance(LOST)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def killed(rig: Rig, *script: Step, dying_at: int | None = None) -> np.ndarray:
    """A life in a process of its own that is killed at the script's end, or when so many blocks were measured. Gives
    the sound that its script plays. The clock of `rig` stands still meanwhile."""
    seconds = sum(step for step in script if not callable(step))
    played = np.random.default_rng(rig.clock.monotonic())
    pid = os.fork()
    if not pid:
        if dying_at is not None:
            left = iter(range(dying_at))
            rig.facts.block_measured = lambda *_: None if next(left, None) is not None else die()  # type: ignore[method-assign]
        try:
            rig.run(*script, die)
        finally:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status)
    blocks = round(seconds * RATE) // FRAMES
    return np.concatenate([played.integers(-9_000, 9_000, (FRAMES, 1), dtype=np.int16) for _ in range(blocks)])


def holes(rig: Rig) -> list[tuple[str, float, float]]:
    """Those that have a length, in seconds since noon."""
    return [
        (hole.cause, round((hole.from_ - NOON) / 1e6, 2), round((hole.to - NOON) / 1e6, 2))
        for hole in rig.holes()
        if hole.from_ < hole.to
    ]


def test_a_kill_soon_after_a_loss_loses_no_held_sample(rig: Rig, shared_memory: Path) -> None:
    played = killed(rig, 5.0, lose(rig), 0.5)
    assert list(shared_memory.glob("*/held"))
    rig.clock.advance(20)
    rig.run(1)
    assert np.array_equal(rig.sound(), np.concatenate([played, *rig.played]))
    assert holes(rig) == [("overrun", 5.0, 8.0), ("crash", 8.5, 20.0)]
    assert not list(shared_memory.iterdir())


@pytest.mark.parametrize("blocks", [1, 60, 99, 100, 101, 104, 110, 121])
@pytest.mark.parametrize("again", [None, 0, 1, 7, 20])
def test_a_kill_while_held_blocks_are_written_loses_at_most_the_block_being_encoded(
    rig: Rig, shared_memory: Path, blocks: int, again: int | None
) -> None:
    """At any block, in the life that held them or in the one that finds them."""
    played = killed(rig, 5.0, lose(rig), 3.0, dying_at=blocks)
    rig.clock.advance(20)
    if again is not None and list(shared_memory.glob("*/held")):
        killed(rig, 1.0, dying_at=again)
        rig.clock.advance(20)
    rig.run(1)
    sound = rig.sound()[: -len(rig.played) * FRAMES]
    assert np.array_equal(rig.sound()[len(sound) :], np.concatenate(rig.played))
    common = 0
    while common < len(sound) and np.array_equal(sound[common : common + FRAMES], played[common : common + FRAMES]):
        common += FRAMES
    # what was delivered when it died: the block measured last is the 0-based `blocks`; held ones come in one go
    delivered = (blocks + 1) * FRAMES if blocks < 100 else 6 * RATE
    assert common >= delivered - ENCODING - FRAMES
    assert "overrun" in [cause for cause, _, _ in holes(rig)] or blocks < 100
    assert not list(shared_memory.iterdir())


def test_a_pause_discards_held_blocks_at_once(rig: Rig, shared_memory: Path) -> None:
    def pause() -> None:
        assert list(shared_memory.glob("*/held"))
        rig.spool.pause.write(PauseOrder())

    rig.run(2.0, lose(rig), 0.5, pause, 0.1, waits=[rig.stop])
    assert not list(shared_memory.iterdir())


def test_held_blocks_are_removed_from_tmpfs_once_recorded(rig: Rig, shared_memory: Path) -> None:
    rig.run(3.0, lose(rig), 3.0)
    assert not list(shared_memory.iterdir())
    assert np.array_equal(rig.sound(), np.concatenate(rig.played))


def test_blocks_held_in_another_boot_are_discarded(rig: Rig, shared_memory: Path) -> None:
    killed(rig, 5.0, lose(rig), 0.5)
    rig.clock.advance(9)
    rig.clock.boot("boot-2", synchronised=True)
    rig.run(1)
    assert [cause for cause, _, _ in holes(rig)] == ["power"]
    assert not list(shared_memory.iterdir())
