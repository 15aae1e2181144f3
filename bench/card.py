"""What a sound card of your own delivers, for each size of block: cost, lateness, drift, and which stalls it bridges.

`python -m bench.card [--device USB] [--block-ms 20 40 100 200] [--seconds 20] [--stalls 0.3 1 5]`, from a clone with
`scripts/setup` done, while nothing else records from the card. A minute or so for each size. PulseAudio's virtual
microphone keeps some 40 s for who does not read; a USB card's driver keeps a few blocks, so there a stall loses sound.
"""

from __future__ import annotations

import argparse
import signal
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bench.capture import Use
from edge.configuration.loader import load
from edge.configuration.settings import Recorder
from edge.core.errors import ImHearingError
from edge.core.kernel_clock import KernelClock
from edge.recorder.capture.blocks import Block, block_frames
from edge.recorder.capture.microphone import Microphone
from tests.support.recording.recorder_process import RecorderProcess, running_recorder
from tests.support.spool.recorded import holes_of

_SETTLING = 3.0  # seconds: the first blocks after opening come as they like
_JUDGING = 8.0  # seconds after a stall: the recorder may take five until it is sure


class Delivery(NamedTuple):
    """How the blocks came."""

    late: np.ndarray  # ms after its last frame was captured, by the earliest of all, for each block
    drift: float  # ppm by which the card is slower than the machine's clock
    flags: int  # blocks before which the driver says that it lost something


class Stall(NamedTuple):
    seconds: float
    lost: float  # seconds


def main() -> None:
    options = _options()
    for milliseconds in options.block_ms:
        settings = [
            "recorder.source=microphone", f"recorder.device={options.device}", f"recorder.block_ms={milliseconds}",
            f"recorder.sample_rate={options.rate}", f"recorder.channels={options.channels}",
            f"recorder.bits={options.bits}", "mqtt.host=127.0.0.1", "mqtt.port=1",
        ]  # fmt: skip
        with tempfile.TemporaryDirectory(dir=options.folder) as name:
            try:
                delivery = _listen(load(Path(name), overrides=settings, environ={}).recorder, options.seconds)
            except ImHearingError as problem:
                raise SystemExit(f"{problem}") from None
            with running_recorder(Path(name), *settings) as recorder:
                recorder.wait_until_recording()
                cost = _cost(recorder, options.seconds)
                stalls = _stall(recorder, options.stalls)
        _report(milliseconds, delivery, cost, stalls)


def _listen(settings: Recorder, seconds: float) -> Delivery:
    """Reads from the card alone. DeviceError when it cannot."""
    rate = settings.sample_rate
    microphone = Microphone(
        settings.device,
        rate,
        settings.channels,
        settings.bits,
        block_frames(settings.block_ms, rate),
        KernelClock(),
    )
    microphone.open()
    blocks: list[tuple[Block, int]] = []
    frames, deadline = 0, time.monotonic() + _SETTLING + seconds
    try:
        while time.monotonic() < deadline:
            block = microphone.read(0.5)
            if block is not None:
                blocks.append((block._replace(samples=block.samples[:0]), frames))
                frames += len(block.samples)
    finally:
        microphone.close()
    blocks = [(block, frame) for block, frame in blocks if frame >= _SETTLING * rate]
    if len(blocks) < 4:
        raise SystemExit("the sound card delivered next to nothing; is something else recording from it?")
    places = np.array([frame for _, frame in blocks]) / rate
    delays = np.array([block.captured_at for block, _ in blocks]) / 1e6 - places
    early, late = np.array_split(np.arange(len(blocks)), 2)
    first, last = early[np.argmin(delays[early])], late[np.argmin(delays[late])]
    drift = (delays[last] - delays[first]) / (places[last] - places[first])
    rest = delays - drift * places
    return Delivery((rest - rest.min()) * 1e3, drift * 1e6, sum(block.suspect for block, _ in blocks))


def _cost(recorder: RecorderProcess, seconds: float) -> float:
    """CPU seconds per second of sound, of the whole recorder."""
    time.sleep(_SETTLING)
    before = Use.of(recorder.process.pid)
    time.sleep(seconds)
    return (Use.of(recorder.process.pid).cpu - before.cpu) / seconds


def _stall(recorder: RecorderProcess, stalls: list[float]) -> list[Stall]:
    """Stops the whole process for a while, again and again, and asks what it found missing."""
    spans = []
    for seconds in stalls:
        begin = time.time()
        recorder.send(signal.SIGSTOP)
        time.sleep(seconds)
        recorder.send(signal.SIGCONT)
        time.sleep(_JUDGING)
        spans.append((begin, time.time()))
    part = recorder.spool.chunks.parts()
    recorder.end()
    if not part:
        raise SystemExit(f"the card did not come back after a stall; the recorder said:\n{recorder.log[-1_000:]}")
    holes = [hole for hole in holes_of(recorder.spool) if hole.cause != "restart"]
    return [
        Stall(seconds, sum((hole.to - hole.from_) / 1e6 for hole in holes if begin < hole.to / 1e6 < end))
        for seconds, (begin, end) in zip(stalls, spans, strict=True)
    ]


def _report(milliseconds: int, delivery: Delivery, cost: float, stalls: list[Stall]) -> None:
    middle, high = np.percentile(delivery.late, [50, 99])
    print(
        f"blocks of {milliseconds} ms: {cost:.4f} CPU s per s of sound; late by {middle:.1f} ms (median),"
        f" {high:.1f} (p99), {delivery.late.max():.1f} (most); the card is {delivery.drift:+.0f} ppm slow;"
        f" {delivery.flags} overflows told"
    )
    for stall in stalls:
        untold = f"no loss (less than {max(100, milliseconds * 5 // 4)} ms cannot be told)"
        print(f"  stopped for {stall.seconds:g} s: {f'{stall.lost:.2f} s lost' if stall.lost else untold}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0] if __doc__ else None,
        epilog="example: python -m bench.card --device USB --block-ms 40 100",
    )
    parser.add_argument("--device", default="", help="part of its name, as `imhearing devices` lists it")
    parser.add_argument("--rate", type=int, default=48_000)
    parser.add_argument("--channels", type=int, default=1)
    parser.add_argument("--bits", type=int, choices=[16, 24], default=16)
    parser.add_argument("--block-ms", type=int, nargs="+", default=[20, 40, 100, 200])
    parser.add_argument("--seconds", type=float, default=20, help="for each measurement")
    parser.add_argument("--stalls", type=float, nargs="*", default=[0.3, 1.0, 5.0], help="seconds")
    parser.add_argument("--folder", help="where to record to, on the card or disk that matters; else the system's /tmp")
    return parser.parse_args()


if __name__ == "__main__":
    main()
