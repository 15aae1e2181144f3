"""A whole node for an hour: what memory its parts hold, and whether it grows.

python -m bench.memory [--rounds 60] [--round 60]

`imhearing up` with a real broker, a local store and the realtime server, on a virtual microphone that plays noise.
Sixty rounds of a minute, each with 30 chunks (so that an hour holds as many as a day does otherwise) and questions over
Ably, over MQTT and by itself; with `--round 30` each takes half as long. In the first sixth of each it is loud: these
chunks are archived one by one, the others 30 at a time. Resident memory as the kernel counts it: what processes share
counts for each.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import tempfile
import time
from pathlib import Path

from bench.programs import MICROPHONE, require
from tests.support.nodes.running_node import RunningNode, running_node
from tests.support.recording.microphone import virtual_microphone, write_noise

# the store and the realtime server are for a machine without accounts; a node in a garden has neither
NODE = ("recorder", "archiver", "query-service", "broker")
ALL = (*NODE, "store", "realtime")
SETTINGS = (
    "recorder.source=microphone",
    "thresholds.records_count=30",
    "thresholds.sound_level=-20",
)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--round", type=int, default=60, help="seconds that one takes, 30 or more")
    options = parser.parse_args()
    require(*MICROPHONE)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="imhearing-bench-")))
        period = f"recorder.record_period={max(30, options.round) / 30:g}"
        room = stack.enter_context(virtual_microphone())
        write_noise(folder / "noise.wav", options.round / 6, seed=1)
        node = stack.enter_context(running_node(folder / "node", *SETTINGS, period, environment=room.environment))
        print("round   " + "".join(f"{name:>15}" for name in ALL) + "           node", flush=True)
        sums = []
        for number in range(1, options.rounds + 1):
            began = time.monotonic()
            player = room.play(folder / "noise.wav")
            _ask(node)
            player.wait()
            time.sleep(max(0.0, began + options.round - time.monotonic()))  # as long as a round takes
            sizes = _resident(node)
            sums.append(sum(sizes.get(name, 0) for name in NODE))
            print(f"{number:6}  " + "".join(f"{sizes.get(name, 0):12.1f} MB" for name in ALL) + f"  {sums[-1]:8.1f} MB")
        if len(sums) < 4:
            return
        third, last = sums[len(sums) // 2 : len(sums) * 3 // 4], sums[len(sums) * 3 // 4 :]
        print(
            f"the node: at most {max(sums):.1f} MB; median of the third quarter {statistics.median(third):.1f} MB,"
            f" of the last {statistics.median(last):.1f} MB"
        )
        print(node.run("status").stdout)


def _ask(node: RunningNode) -> None:
    began = time.monotonic()
    for via in ("ably", "mqtt", "local"):
        done = node.run("query", "--last", "10m", "--via", via)
        if done.returncode:
            print(f"over {via}: {done.stderr.strip()}")
    print(f"        asked in {time.monotonic() - began:.1f} s", flush=True)


def _resident(node: RunningNode) -> dict[str, float]:
    """MB by part."""
    found = {}
    for name, pid in node.processes().items():
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        found[name] = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) * 1024 / 1_000_000
    return found


if __name__ == "__main__":
    main()
