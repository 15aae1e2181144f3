"""Somebody who listens live to a real recorder that plays a file of noise, and the child that decodes for them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np

from query_service.sound.live import LiveSound
from query_service.sound.live_messages import LiveFormat
from tests.support.wait import DEADLINE


def live_sound(data: Path, *, is_encrypted: bool = False) -> LiveSound:
    return LiveSound(data / "spool", ("porch",), is_encrypted=is_encrypted)


def decoders() -> list[int]:
    """The process ids of our children that decode live sound."""
    found = []
    for listed in Path(f"/proc/{os.getpid()}/task").glob("*/children"):
        for child in listed.read_text().split():
            if b"live_decoder" in _command(child):
                found.append(int(child))
    return found


def _command(child: str) -> bytes:
    try:
        return Path(f"/proc/{child}/cmdline").read_bytes()
    except OSError:
        return b""


async def hear(pieces: AsyncIterator[bytes], form: LiveFormat, seconds: float) -> np.ndarray:
    """The next samples, 16 bits, at least so many seconds of them; fewer if the sound ends before."""
    heard = bytearray()
    async with asyncio.timeout(DEADLINE):
        async for piece in pieces:
            heard += piece
            if len(heard) >= seconds * form.rate * form.frame_bytes:
                break
    return np.frombuffer(bytes(heard), "<i2")


async def until(condition: Callable[[], bool], what: str) -> None:
    """Waits without blocking the event loop."""
    try:
        async with asyncio.timeout(DEADLINE):
            while not condition():
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"not within {DEADLINE} s: {what}") from None
