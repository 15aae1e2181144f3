"""A hundred thousand bad messages to the command topics: the node answers, memory stays flat, it records on.

    .venv/bin/python -m bench.mqtt_fuzz [--count 100000]

Starts a broker and a recorder with a synthetic source on 127.0.0.1, in a folder of its own. Exit code 1 when a sample
is missing, a command is carried out that nobody gave, or memory has grown by more than 10 MB after the first tenth.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import string
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edge.configuration.settings import Mqtt
from edge.core import wire
from edge.embedded import ports
from edge.embedded.child import Child
from edge.messaging.command_client import ask, new_id
from edge.messaging.commands import COMMANDS, EVERY_REQUEST, Resume
from edge.messaging.events import ChunkCompleted, RecorderState
from edge.messaging.messages import MAX_PAYLOAD
from tests.support.messaging.broker import open_broker

OWN = "imhearing/porch"
ROOT = Path(__file__).parents[1]
VERBS = [*sorted(EVERY_REQUEST), "explode", "a-b", "x" * 40, "é", "sub/verb", "PAUSE"]
ANSWERED = {verb for command in COMMANDS if command.BY == "recorder" for verb in command.requests()}
TOPICS = [
    None,
    None,
    f"{OWN}/response/me",
    f"{OWN}/recorder/state",
    "imhearing/garden/response/x",
    f"{OWN}/response/$x",
]


def payload(chance: random.Random) -> bytes:
    """Anything but a command that can be carried out."""
    kind = chance.randrange(9)
    if kind == 0:
        return chance.randbytes(chance.randrange(300))
    if kind == 1:
        return "".join(chance.choices(string.printable, k=chance.randrange(200))).encode()
    if kind == 2:
        return b'{"id":' * chance.randrange(2_000)
    if kind == 3:
        return b"[" * chance.randrange(20_000)
    if kind == 4:
        return b"x" * chance.choice([8_193, 60_000, 70_000, 200_000] if chance.random() < 0.05 else [8_193])
    values: list[Any] = [None, -1, 1e308, "x", [], {}, True, "\0", "a" * 500, {"a": {"b": [1]}}]
    names = chance.sample(["id", "seconds", "metric", "limit", "on", "from", "to", "😀"], k=4)
    fields = {name: chance.choice(values) for name in names}
    fields["id"] = chance.choice([None, 7, "short", [], "x" * 200, True])
    return json.dumps(fields).encode()


def rss_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1_000
    return 0.0


class Listener:
    """Counts what the node says, and keeps its chunks and states."""

    def __init__(self, port: int) -> None:
        self.answers = self.refusals = 0
        self.chunks: list[ChunkCompleted] = []
        self.states: list[str] = []
        self.client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        self.client.on_message = self._heard
        self.client.connect("127.0.0.1", port)
        self.client.subscribe([(f"{OWN}/response/#", 1), (f"{OWN}/recorder/+", 1)])
        self.client.loop_start()

    def _heard(self, _client: Any, _userdata: Any, message: paho.MQTTMessage) -> None:
        if message.topic.startswith(f"{OWN}/response/"):
            self.answers += 1
            self.refusals += b'"ok":false' in message.payload
        elif message.topic == f"{OWN}/recorder/chunk":
            self.chunks.append(wire.decode(bytes(message.payload), ChunkCompleted))
        elif message.topic == f"{OWN}/recorder/state":
            self.states.append(wire.decode(bytes(message.payload), RecorderState).state)


def is_answered(verb: str, data: bytes) -> bool:
    """As documented: the recorder answers its own verbs, up to 64 KiB."""
    return verb in ANSWERED and len(data) <= MAX_PAYLOAD


def flood(port: int, count: int, pid: int, seed: int, listener: Listener) -> list[float]:
    """Sends `count` messages, 200 at a time, each answered as documented; gives the memory in MB after each tenth."""
    chance = random.Random(seed)
    expected = 0
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
    client.connect("127.0.0.1", port)
    client.loop_start()
    memory = []
    for number in range(count):
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        if topic := chance.choice(TOPICS):
            properties.ResponseTopic = topic
        if chance.random() < 0.2:
            properties.CorrelationData = chance.randbytes(chance.choice([4, 64, 2_000]))
        verb, data = chance.choice(VERBS), payload(chance)
        expected += is_answered(verb, data)
        client.publish(f"{OWN}/request/{verb}", data, qos=1, properties=properties)
        if number % 200 == 199:  # a broker drops what it cannot queue
            deadline = time.monotonic() + 30
            while listener.answers < expected:
                assert time.monotonic() < deadline, f"{listener.answers} answers instead of {expected}"
                time.sleep(0.001)
        if (number + 1) % (count // 10) == 0:
            memory.append(rss_mb(pid))
    client.disconnect()
    client.loop_stop()
    print(f"answers expected: {expected}")
    return memory


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="imhearing-fuzz-") as scratch:
        return trial(Path(scratch), args.count, args.seed)


def trial(folder: Path, count: int, seed: int) -> int:
    port = ports.choose(None)
    broker = Child(open_broker(port, folder / "broker"))
    sets = [
        "node.name=porch", f"mqtt.port={port}", "mqtt.host=127.0.0.1", "recorder.source=synthetic",
        "recorder.record_period=5",
    ]  # fmt: skip
    command = [sys.executable, "imhearing.py", "recorder", "--data", str(folder / "node")]
    command += [part for each in sets for part in ("--set", each)]
    while not ports.answers(port):
        time.sleep(0.05)
    listener = Listener(port)
    with (folder / "recorder.log").open("wb") as log:
        recorder = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
    try:
        while not listener.chunks:
            time.sleep(0.1)
        begin = time.monotonic()
        memory = flood(port, count, recorder.pid, seed, listener)
        took = time.monotonic() - begin
        ask(Mqtt(host="127.0.0.1", port=port), "porch", Resume(id=new_id()), timeout=60)
        known = len(listener.chunks)
        while len(listener.chunks) < known + 2:
            time.sleep(0.1)
    finally:
        recorder.terminate()
        recorder.wait(10)
        broker.terminate()
        broker.end(5)
    return judge(listener, memory, count, took)


def judge(listener: Listener, memory: list[float], count: int, took: float) -> int:
    chunks = listener.chunks[: len(listener.chunks)]
    joined = all(
        after.stream_id == before.stream_id and after.first_frame == before.first_frame + before.frames
        for before, after in itertools.pairwise(chunks)
        if after.end_reason != "stopped"
    )
    grown = memory[-1] - memory[0]
    print(f"{count} messages in {took:.0f} s, {count / took:.0f} a second")
    print(f"answers: {listener.answers}, of them refusals: {listener.refusals}")
    print(
        f"recorder's memory after each tenth, MB: {', '.join(f'{each:.1f}' for each in memory)}; grown by {grown:.1f}"
    )
    print(f"chunks: {len(chunks)}, one stream without a hole: {joined}; states: {sorted(set(listener.states))}")
    good = joined and grown < 10 and set(listener.states) <= {"recording", "stopped"}
    good = good and listener.answers - listener.refusals == 1  # the one command that was given
    print("good" if good else "BAD")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
