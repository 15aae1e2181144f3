"""What the recorder notices of the page: its processor time, and its sound, while five pages are open and one plays.

`python -m bench.page_beside_recorder [--seconds 30] [--rounds 3]`. The recorder records noise from the virtual
microphone in chunks of five seconds, beside a broker and the query service. Each round is as long without pages as with
five of them, which follow the events and ask for what they show whenever something comes, and one player, which
fetches a minute of sound over and over. Prints the recorder's processor time per second of sound and the ratio, and
whether all that was played is in one stream, bit for bit. Exit code 1 if it is not.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from bench.capture import Use
from bench.programs import MICROPHONE, require
from edge.catalog import Catalog
from edge.core.instant import Instant
from tests.campaigns.page_crowd import Crowd
from tests.support.messaging.broker import running_broker
from tests.support.nodes.query_process import QueryProcess, running_query_process
from tests.support.recording.microphone import virtual_microphone, write_noise
from tests.support.recording.recorder_process import RecorderProcess, running_recorder
from tests.support.spool.recorded import aligned, sound_of, streams_of

PAGES = 5
BEFORE = 70  # seconds of sound, so that there is a minute to play
MARGIN = 5  # seconds that PulseAudio swallows at most


async def spent(recorder: RecorderProcess, seconds: float) -> float:
    """Seconds of the processor per second of sound."""
    before, began = Use.of(recorder.process.pid).cpu, time.monotonic()
    await asyncio.sleep(seconds)
    return (Use.of(recorder.process.pid).cpu - before) / (time.monotonic() - began)


async def rounds(recorder: RecorderProcess, service: QueryProcess, start: Instant, count: int, seconds: float) -> None:
    alone, beside = [], []
    crowd = Crowd(service, start)
    for number in range(count):
        alone.append(await spent(recorder, seconds))
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(crowd.page(each)) for each in range(PAGES)]
            tasks.append(group.create_task(crowd.player(0)))
            beside.append(await spent(recorder, seconds))
            for task in tasks:
                task.cancel()
        print(f"round {number + 1}: alone {alone[-1]:.4f}, beside {beside[-1]:.4f} s per s", flush=True)
    middle = [statistics.median(values) for values in (alone, beside)]
    print(
        f"the recorder: {middle[0]:.4f} s of the processor per s of sound alone, {middle[1]:.4f} beside {PAGES} pages"
        f" and a player: {middle[1] / middle[0] - 1:+.1%}; {len(crowd.waited['page'])} answers,"
        f" {crowd.counts['played']} minutes played, faults: {crowd.faults or 'none'}"
    )


def lost(recorder: RecorderProcess, played: np.ndarray, least: int) -> str:
    """What is wrong with the recorded sound; nothing if it is what was played."""
    streams = streams_of(recorder.spool)
    if len(streams) != 1:
        return f"{len(streams)} streams instead of one"
    recorded, wanted = aligned(sound_of(recorder.spool, streams[0].stream_id), played)
    if len(recorded) < least:
        return f"only {len(recorded)} frames of what was played were found"
    wrong = int(np.count_nonzero(recorded != wanted))
    return f"{wrong} of {len(wanted)} frames differ" if wrong else ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    require(*MICROPHONE)
    length = BEFORE + 2 * options.seconds * options.rounds
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="imhearing-bench-")))
        room = stack.enter_context(virtual_microphone())
        broker = stack.enter_context(running_broker())
        data = folder / "data"
        address = (f"mqtt.host={broker.host}", f"mqtt.port={broker.port}")
        settings = ("recorder.source=microphone", "recorder.record_period=5", *address)
        recorder = stack.enter_context(running_recorder(data, *settings, environment=room.environment))
        with contextlib.closing(Catalog(data / "catalog.db")) as catalog:
            catalog.open()
        service = stack.enter_context(running_query_process(data, *address))
        recorder.wait_until_recording()
        played = write_noise(folder / "noise.wav", length + MARGIN, seed=1)
        start = Instant.from_seconds(time.time() + MARGIN)
        player = room.play(folder / "noise.wav")
        time.sleep(BEFORE)
        asyncio.run(rounds(recorder, service, start, options.rounds, options.seconds))
        player.wait()
        recorder.end()
        problem = lost(recorder, played, round(length * 48_000) - MARGIN * 48_000)
        print(f"its sound: {problem or f'one stream, {length:.0f} s bit for bit'}")
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main())
