"""What a node says while it records: topics, payloads, answers to commands, discovery, metrics, state files."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.contract import doors
from tests.contract.fixed_spool import DAY
from tests.contract.output import Output
from tests.contract.redaction import shape, without_moment
from tests.contract.traffic import Seen
from tests.support.messaging.mqtt import Client
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from tests.contract.running import Node

_OWN = "imhearing/porch"
_SECONDS = 60.0
_TEMPORARY = re.compile(r"\.tmp$|\.new$|-journal$|/\.probe|/\.rclone")
_PLACE = {"member", "offset", "length"}  # of a chunk in its archive
_REFUSED: tuple[tuple[str, dict[str, Any]], ...] = (
    ("set", {"metric": "oldest_age", "limit": -1}),
    ("set", {"metric": "mood", "limit": 1}),
    ("pause", {"seconds": 0}),
    ("recording", {}),
)
# files of the data folder whose JSON is kept, by a pattern of their names
_KINDS = {
    "chunk": re.compile(r"spool/\d{8}T\d{6}Z-[a-z2-7]{4}-\d{6}\.json"),
    "stream": re.compile(r"spool/[^/]+\.stream\.json"),
    "state": re.compile(r"spool/state\.json"),
    "pause": re.compile(r"spool/pause\.json"),
    "settings": re.compile(r"spool/settings\.json"),
    "exceeded": re.compile(r"spool/exceeded\.json"),
    "sounds": re.compile(r"spool/sounds\.json"),
    "up": re.compile(r"up\.json"),
}


class Recording:
    """A node that records for some seconds; what is seen meanwhile is written at its end."""

    def __init__(self, output: Output, node: Node, mqtt: Client) -> None:
        self._output, self._node, self._mqtt = output, node, mqtt
        self._names: set[str] = set()
        self._contents: dict[str, list[Any]] = defaultdict(list)
        self._replies: list[dict[str, Any]] = []

    def write(self) -> None:
        write_discovery(self._output, self._mqtt, "homeassistant/device/imhearing_porch/config", "dBFS")
        self._note_files()
        self._command("resume")
        self._await_state("recording")
        self._await("recorder/sounding", lambda event: event["sounding"])
        self._await("recorder/sounding", lambda event: not event["sounding"])
        self._await("recorder/sound", lambda event: event["ended_at"] is not None)
        self._await_kept("sounds", bool)
        self._await("recorder/chunk", lambda event: event["sounds"])
        self._await("recorder/threshold", lambda event: event["metric"] == "sound_level")
        self._await("archiver/state", lambda event: event["last_archive"] is not None)
        _write_metrics(self._output, self._node)
        self._command("set", metric="records_count", limit=1)
        self._await("recorder/threshold", lambda event: event["metric"] == "records_count")
        self._await_kept("exceeded", lambda kept: "records_count" in kept)
        self._command("rotate")
        self._await("recorder/chunk", lambda event: event["end_reason"] == "rotated")
        self._command("archive")
        self._command("pause", seconds=600)
        self._await_state("paused", lambda event: event["until"] is not None)
        self._command("resume")
        self._await_state("recording")
        self._command("recording", on=False)
        self._await_state("paused", lambda event: event["until"] is None)
        self._calibrate()
        self._command("recording", on=True)
        self._await_state("recording")
        self._await("recorder/level", lambda event: event["calibrated"])
        for verb, fields in _REFUSED:
            self._command(verb, **fields)
        write_discovery(self._output, self._mqtt, "homeassistant/device/imhearing_porch/config", "dBA")
        self._output.json("mqtt/commands.json", self._replies)
        self._write_payloads()

    def write_files(self, manifests: list[dict[str, Any]]) -> None:
        """Once the node has ended: which files there were, and the paths in those of JSON.

        What was archived stands in the archives' `manifests` as it stood in the spool.
        """
        self._note_files()
        for manifest in manifests:
            self._contents["stream"] += manifest["streams"]
            self._contents["chunk"] += [
                {key: value for key, value in chunk.items() if key not in _PLACE} for chunk in manifest["chunks"]
            ]
        self._output.lines("files/names.txt", sorted(self._names))
        for kind in _KINDS:
            self._output.lines(f"files/{kind}.shape", shape(*self._contents[kind]))

    def _command(self, verb: str, **fields: Any) -> None:
        identity = f"contract-{len(self._replies)}"
        question = {"id": identity, **fields}
        self._mqtt.publish(f"{_OWN}/request/{verb}", json.dumps(question))
        heard = self._mqtt.wait_for_message(
            f"{_OWN}/response/{verb}", lambda each: f'"{identity}"'.encode() in each.payload, _SECONDS
        )
        answer = json.loads(heard.payload)
        fixed = shape(answer) if verb == "archive" else without_moment(answer)
        self._replies.append({"verb": verb, "question": question, "answer": fixed})

    def _await(self, topic: str, condition: Callable[[dict[str, Any]], Any]) -> None:
        def came() -> bool:
            self._note_files()
            payloads = [
                json.loads(each.payload) for each in list(self._mqtt.received) if each.topic == f"{_OWN}/{topic}"
            ]
            return any(condition(each) for each in payloads)

        wait_until(came, f"something fits on {topic}", _SECONDS)

    def _await_kept(self, kind: str, condition: Callable[[Any], bool]) -> None:
        def kept() -> bool:
            self._note_files()
            return any(condition(each) for each in self._contents[kind])

        wait_until(kept, f"something fits in the file of kind {kind}", _SECONDS)

    def _await_state(self, state: str, condition: Callable[[dict[str, Any]], Any] = lambda _: True) -> None:
        """Until it is the recorder's newest, on the broker and on the disk."""

        def came() -> bool:
            self._note_files()
            published = json.loads(self._mqtt.messages_on(f"{_OWN}/recorder/state")[-1].payload)
            noted = json.loads((self._node.spool / "state.json").read_bytes())
            return bool(published["state"] == noted["state"] == state and condition(published))

        wait_until(came, f"the recorder is {state}", _SECONDS)
        self._note_files()

    def _calibrate(self) -> None:
        """As `imhearing calibrate` leaves it; that command needs a microphone."""
        kept = {
            "device": "synthetic scene", "at": "2026-03-03T12:00:00.000000Z", "method": "known_level",
            "offset_db": 94.0, "uncertainty_db": 1.5,
        }  # fmt: skip
        (self._node.data / "recorder" / "calibration.json").write_text(json.dumps({"calibrations": [kept]}))

    def _note_files(self) -> None:
        """Notes the data folder's files as they are now."""
        for path in list(self._node.data.rglob("*")):
            name = str(path.relative_to(self._node.data))
            if _TEMPORARY.search(name) or not path.is_file():
                continue
            self._names.add(_anonymous(name))
            for kind, pattern in _KINDS.items():
                if pattern.fullmatch(name) and DAY.replace("-", "") not in name:
                    self._keep(kind, path)

    def _keep(self, kind: str, path: Path) -> None:
        try:
            content = json.loads(path.read_bytes())
        except FileNotFoundError:
            return  # archived meanwhile
        if content not in self._contents[kind]:
            self._contents[kind].append(content)

    def _write_payloads(self) -> None:
        """Each topic's payloads as the paths and types seen in them."""
        by_topic: dict[str, list[Any]] = defaultdict(list)
        for heard in list(self._mqtt.received):
            room = heard.topic.removeprefix(f"{_OWN}/")
            if heard.payload and not room.startswith(("request/", "response/", "home")):
                by_topic[room].append(json.loads(heard.payload))
        for room, payloads in sorted(by_topic.items()):
            self._output.lines(f"mqtt/{room.replace('/', '-')}.shape", shape(*payloads))


def write_topics(output: Output, mqtt: Client, seen: Seen) -> None:
    """What the node itself publishes, once all of it has come; requests are ours."""
    last = "imhearing/contract/request/last"
    mqtt.publish(last)
    wait_until(lambda: any(topic == last for topic, _, _ in list(seen)), "the last message has come", _SECONDS)
    lines = {
        f"{topic}: QoS {qos}{', retained' if retained else ''}"
        for topic, qos, retained in seen
        if "/request/" not in topic
    }
    output.lines("mqtt/topics.txt", sorted(lines))


def write_discovery(output: Output, mqtt: Client, topic: str, name: str) -> None:
    """The newest that Home Assistant would see there."""
    unit = f'"{name}"' if name.startswith("dB") else ""
    heard = mqtt.wait_for_message(topic, lambda each: each.payload and unit.encode() in each.payload, _SECONDS)
    output.json(f"home-assistant/{name}.json", {"topic": topic, "payload": json.loads(heard.payload)})


def _write_metrics(output: Output, node: Node) -> None:
    """Once every documented metric is there: names, labels, types, help; no values."""
    documented = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
    names = re.findall(r"^\| `((?:imhearing|process)_\w+)`", documented, re.MULTILINE)

    def page() -> str:
        text = doors.over_http(node.ports["http_port"], "GET", "/metrics").body.decode()
        return text if all(f"# TYPE {name} " in text for name in names) else ""

    lines = []
    for line in wait_until(page, f"there are metrics for {names}", _SECONDS).splitlines():
        sample = line if line.startswith("#") else line.rpartition(" ")[0]
        lines.append(re.sub(r'version="[^"]*"', 'version="<version>"', sample))
    output.lines("metrics.txt", lines)


def _anonymous(name: str) -> str:
    name = re.sub(r"\d{8}T\d{6}Z-[a-z2-7]{4}", "<stream>", name)
    name = re.sub(r"\d{4}/\d\d/\d\d", "<day>", name)
    name = re.sub(r"(<stream>)-\d{6}", r"\1-<seq>", name)
    return re.sub(r"(?<=-)[0-9a-f]{8}(?=\.zip)|[0-9a-f]{16}", "<hex>", name)
