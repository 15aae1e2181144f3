"""A child process of the query service that handles sound: it ends, and gives back all its memory."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from typing import Any, cast

from edge.core import wire


class SoundChild(Process):
    """Its three streams are pipes."""

    stdin: asyncio.StreamWriter
    stdout: asyncio.StreamReader
    stderr: asyncio.StreamReader


@contextlib.asynccontextmanager
async def sound_child(module: str, order: Any) -> AsyncIterator[SoundChild]:
    """Runs `module`, which finds `order` in the first line of its input; killed at the end."""
    command = (sys.executable, "-P", "-m", module)
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, stderr=PIPE)
    child = cast(SoundChild, process)
    try:
        child.stdin.write(wire.encode(order) + b"\n")
        yield child
    finally:
        child.stdin.close()
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.stdout.read()  # asyncio does not notice the end before what is left is read
        await child.wait()
