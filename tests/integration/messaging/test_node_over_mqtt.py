"""A running recorder as home automation sees it: messages match docs/asyncapi.yaml, commands are executed."""

from __future__ import annotations

import itertools
import json
import random
import string
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import imhearing
from edge.configuration import loader as config
from edge.configuration.settings import Settings
from edge.core import wire
from edge.core.errors import DoorError, QueryRefused
from edge.core.instant import FIRST
from edge.embedded import ports
from edge.messaging import topics
from edge.messaging.command_client import ask, new_id
from edge.messaging.commands import COMMANDS, ArchiveNow, Pause, Resume, Rotate, SetLimit, SwitchRecording
from edge.messaging.events import EVENTS, ChunkCompleted, Event, LimitsSet, RecorderState, RecorderStatus, Response
from edge.messaging.messages import MAX_PAYLOAD
from edge.recorder import service
from edge.spool.spool import Spool
from tests.support.messaging.broker import BrokerAddress
from tests.support.messaging.json_schema import faults
from tests.support.messaging.mqtt import Client, ReceivedMessage, connected
from tests.support.wait import DEADLINE, wait_until

OWN = "imhearing/porch"
BY_TOPIC: dict[str, type[Event]] = {f"{OWN}/{event.TOPIC}": event for event in EVENTS}


@pytest.fixture(scope="module")
def settings(broker: BrokerAddress, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return config.load(
        tmp_path_factory.mktemp("node"),
        None,
        [
            f"mqtt.host={broker.host}", f"mqtt.port={broker.port}", "node.name=porch", "recorder.source=synthetic",
            "recorder.record_period=1", "thresholds.sound_level=-40", "thresholds.records_count=3",
        ],
    )  # fmt: skip


@pytest.fixture(scope="module")
def heard(broker: BrokerAddress, settings: Settings) -> Iterator[Client]:
    """Everything that is said, from before the recorder starts until its end."""
    with connected(broker.port) as client:
        client.subscribe("#")
        stop = threading.Event()
        recorder = threading.Thread(target=service.run, args=(settings, stop))
        recorder.start()
        try:
            client.wait_for_message(f"{OWN}/recorder/chunk")
            yield client
        finally:
            stop.set()
            recorder.join(DEADLINE)
            assert not recorder.is_alive()


@pytest.fixture(autouse=True)
def _records_again(heard: Client, settings: Settings) -> Iterator[None]:
    yield
    Spool(settings.recorder.record_path, "porch").pause.remove()
    wait_until(lambda: state(heard) == "recording", "it records again")


def state(client: Client) -> str:
    return wire.decode(client.messages_on(f"{OWN}/recorder/state")[-1].payload, RecorderState).state


def order(client: Client, verb: str, **fields: Any) -> Response:
    """Sends as `mosquitto_pub` would; the answer comes on the verb's own topic."""
    fields.setdefault("id", new_id())
    topic, count = f"{OWN}/response/{verb}", len(client.messages_on(f"{OWN}/response/{verb}"))
    client.publish(f"{OWN}/request/{verb}", json.dumps(fields))

    def answers() -> list[Response]:
        responses = [wire.decode(each.payload, Response) for each in client.messages_on(topic)[count:]]
        return [answer for answer in responses if answer.id == fields["id"]]

    return wait_until(answers, f"{verb} is answered")[0]


# commands


def test_pause_and_resume_commands_change_the_recorder_state(heard: Client, settings: Settings) -> None:
    answer = ask(settings.mqtt, "porch", Pause(id=new_id(), seconds=600))
    wait_until(lambda: state(heard) == "paused", "it is paused")
    published = wire.decode(heard.messages_on(f"{OWN}/recorder/state")[-1].payload, RecorderState)
    assert str(published.until) == answer["until"]
    assert ask(settings.mqtt, "porch", Resume(id=new_id())) == {}
    wait_until(lambda: state(heard) == "recording", "it records again")


def test_a_timed_pause_ends_by_itself(heard: Client, settings: Settings) -> None:
    ask(settings.mqtt, "porch", Pause(id=new_id(), seconds=1))
    wait_until(lambda: state(heard) == "paused", "it is paused")
    wait_until(lambda: state(heard) == "recording", "it records again")


def test_the_recording_switch_pauses_and_resumes(heard: Client, settings: Settings) -> None:
    assert ask(settings.mqtt, "porch", SwitchRecording(id=new_id(), on=False)) == {"until": None}
    wait_until(lambda: state(heard) == "paused", "it is paused")
    assert ask(settings.mqtt, "porch", SwitchRecording(id=new_id(), on=True)) == {"until": None}


def test_rotate_ends_the_chunk_without_losing_samples(heard: Client, settings: Settings) -> None:
    count = len(heard.messages_on(f"{OWN}/recorder/chunk"))
    ask(settings.mqtt, "porch", Rotate(id=new_id()))

    def rotated() -> list[ChunkCompleted]:
        chunks = [
            wire.decode(each.payload, ChunkCompleted) for each in heard.messages_on(f"{OWN}/recorder/chunk")[count:]
        ]
        ended = next((number for number, chunk in enumerate(chunks) if chunk.end_reason == "rotated"), None)
        return [] if ended is None else chunks[ended : ended + 2]

    before, after = wait_until(lambda: rotated() if len(rotated()) == 2 else [], "two chunks about the rotation")
    assert after.started_at == before.ended_at
    assert not [hole for hole in after.before if hole.to > hole.from_]


def test_a_limit_set_by_command_applies_and_is_saved(heard: Client, settings: Settings) -> None:
    answer = ask(settings.mqtt, "porch", SetLimit(id=new_id(), metric="storage_usage", limit=250))
    assert answer["storage_usage"] == 250
    assert answer["records_count"] == 3
    published = heard.wait_for_message(f"{OWN}/recorder/limits", lambda each: b"250" in each.payload)
    assert wire.decode(published.payload, LimitsSet).storage_usage == 250
    assert json.loads((settings.recorder.record_path / "settings.json").read_bytes())["storage_usage"] == 250


def test_an_invalid_limit_is_refused_with_its_field(settings: Settings, heard: Client) -> None:
    with pytest.raises(QueryRefused, match="limit") as refused:
        ask(settings.mqtt, "porch", SetLimit(id=new_id(), metric="storage_usage", limit=-5))
    assert (refused.value.code, refused.value.field) == ("bad_request", "limit")


def test_a_command_to_a_stopped_archiver_times_out(settings: Settings, heard: Client) -> None:
    with pytest.raises(DoorError, match="archiver of porch did not answer"):
        ask(settings.mqtt, "porch", ArchiveNow(id=new_id()), timeout=0.3)


def test_without_a_response_topic_the_response_arrives_under_the_verb(heard: Client) -> None:
    fields = {"id": "0123456789abcdef"}
    assert order(heard, "resume", **fields) == Response(id=fields["id"], ok=True, data={})


def test_a_response_topic_outside_the_nodes_own_is_refused(heard: Client) -> None:
    before = len(heard.messages_on(f"{OWN}/response/pause"))
    for topic in ("imhearing/garden/response/x", f"{OWN}/recorder/state", "homeassistant/status"):
        heard.publish(f"{OWN}/request/pause", json.dumps({"id": new_id()}), response_topic=topic, correlation=b"c")
    wait_until(lambda: len(heard.messages_on(f"{OWN}/response/pause")) == before + 3, "each is answered")
    for answer in heard.messages_on(f"{OWN}/response/pause")[before:]:
        error = wire.decode(answer.payload, Response).error
        assert error is not None
        assert (error.code, error.field) == ("bad_request", "response_topic")
        assert answer.correlation == b"c"
    assert state(heard) == "recording"


def test_a_retained_command_over_mqtt_is_ignored(heard: Client, broker: BrokerAddress) -> None:
    before = len(heard.messages_on(f"{OWN}/response/pause"))
    heard.publish(f"{OWN}/request/pause", json.dumps({"id": new_id()}), retain=True)
    assert order(heard, "resume").ok  # which came later and is done
    assert len(heard.messages_on(f"{OWN}/response/pause")) == before
    assert state(heard) == "recording"
    heard.publish(f"{OWN}/request/pause", b"", retain=True)


def test_a_command_repeated_a_hundred_times_is_executed_once(heard: Client) -> None:
    fields = {"id": new_id(), "seconds": 500}
    answers = {wire.encode(order(heard, "pause", **fields)) for _ in range(100)}
    assert len(answers) == 1
    assert order(heard, "resume").ok


@pytest.mark.parametrize("payload", [b"", b"\xff", b"[" * 7_000, b"null", b'{"id":7}', b"x" * MAX_PAYLOAD])
def test_a_malformed_command_is_refused_as_bad_request(heard: Client, payload: bytes) -> None:
    before = len(heard.messages_on(f"{OWN}/response/pause"))
    heard.publish(f"{OWN}/request/pause", payload)
    wait_until(lambda: len(heard.messages_on(f"{OWN}/response/pause")) > before, "it is answered")
    answer = wire.decode(heard.messages_on(f"{OWN}/response/pause")[before].payload, Response)
    assert answer.error is not None
    assert answer.error.code == "bad_request"


def test_an_unknown_verb_is_not_answered(heard: Client) -> None:
    heard.publish(f"{OWN}/request/explode", json.dumps({"id": new_id()}))
    assert order(heard, "resume").ok  # the broker and the recorder handle messages in order
    assert not heard.messages_on(f"{OWN}/response/explode")


def test_a_flood_of_malformed_commands_changes_nothing(heard: Client) -> None:
    """A hundred thousand of them: bench/mqtt_fuzz.py."""
    chance = random.Random(7)
    for _ in range(500):
        verb = chance.choice([*(command.VERB for command in COMMANDS if command.VERB != "set"), "x", "query", "a-b"])
        heard.publish(f"{OWN}/request/{verb}", nonsense(chance))
    assert order(heard, "resume").ok
    assert state(heard) == "recording"


def nonsense(chance: random.Random) -> bytes:
    """Anything but a valid command."""
    fields: dict[str, Any] = {
        "id": chance.choice([None, 1, "x", [], {}]),
        "seconds": chance.choice([-1, "a", None, 1e999, True]),
    }
    kinds = [
        chance.randbytes(chance.randrange(50)),
        "".join(chance.choices(string.printable, k=30)).encode(),
        json.dumps(fields).encode(),
        b'{"id":' * chance.randrange(300),
    ]
    return chance.choice(kinds)


# the command line


def run(settings: Settings, *arguments: str, port: int | None = None) -> subprocess.CompletedProcess[str]:
    folder = settings.catalog.db_path.parent
    places = [f"mqtt.host={settings.mqtt.host}", f"mqtt.port={port or settings.mqtt.port}", "node.name=porch"]
    sets = itertools.chain.from_iterable(("--set", place) for place in places)
    command = [sys.executable, imhearing.__file__, *arguments, "--data", str(folder), *sets]
    return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)


def test_pause_resume_and_rotate_work_on_the_command_line(heard: Client, settings: Settings) -> None:
    done = run(settings, "pause", "30m")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert done.stderr.startswith("paused until ")
    wait_until(lambda: state(heard) == "paused", "it is paused")
    assert run(settings, "resume", "--json").stdout == "{}\n"
    wait_until(lambda: state(heard) == "recording", "it records again")
    assert run(settings, "rotate").returncode == 0
    assert run(settings, "pause", "soon").returncode == 2
    assert run(settings, "pause", "90d").returncode == 2
    refused = run(settings, "rotate", "--node", "nobody")
    assert refused.returncode == 1
    assert "did not answer" in refused.stderr


def test_the_pause_command_works_without_a_broker(settings: Settings, heard: Client) -> None:
    away = run(settings, "pause", port=ports.choose(None))
    assert away.returncode == 0, away.stderr
    assert away.stderr.startswith("paused until ")
    noted = Spool(settings.recorder.record_path, "porch").state.read()
    assert noted is not None
    assert noted.state == "paused"  # already: the command waited for it


def test_unannounce_refuses_a_running_node(settings: Settings, heard: Client) -> None:
    done = run(settings, "unannounce")
    assert done.returncode == 1
    assert "still running" in done.stderr


def test_unannounce_removes_all_retained_messages_of_a_node(
    broker: BrokerAddress, heard: Client, settings: Settings
) -> None:
    status = RecorderStatus(at=FIRST, node="old", state="offline", instance="a", version="1")
    heard.publish("imhearing/old/recorder/status", wire.encode(status), retain=True)
    heard.publish(topics.discovery("old"), b"{}", retain=True)
    done = run(settings, "unannounce", "--node", "old")
    assert done.returncode == 0, done.stderr
    with connected(broker.port) as later:
        later.subscribe("#")
        later.wait_for_message(f"{OWN}/recorder/status")
        assert not [each.topic for each in later.received if "old" in each.topic]


# what it says: the last, so that everything above is in it


def test_all_published_messages_match_the_asyncapi_document(heard: Client) -> None:
    for topic in ("sound", "sounding", "threshold"):
        heard.wait_for_message(f"{OWN}/recorder/{topic}")
    seen = set()
    for each in list(heard.received):
        if each.topic in BY_TOPIC:
            _fits(each, BY_TOPIC[each.topic].__name__)
            seen.add(each.topic.removeprefix(f"{OWN}/recorder/"))
        elif each.topic.startswith(f"{OWN}/response/"):
            _fits(each, "Response")
        else:
            assert each.topic.startswith(
                (f"{OWN}/request/", "homeassistant/", "imhearing/old/", "imhearing/nobody/")
            ), each.topic
    assert seen >= {"status", "state", "level", "chunk", "sound", "sounding", "threshold", "limits"}


def _fits(each: ReceivedMessage, name: str) -> None:
    assert not faults(json.loads(each.payload), name), each


def test_a_new_subscriber_receives_the_retained_state_at_once(broker: BrokerAddress, heard: Client) -> None:
    with connected(broker.port) as stranger:
        stranger.subscribe("#")
        for topic in ("recorder/status", "recorder/state", "recorder/limits", "recorder/sounding"):
            assert stranger.wait_for_message(f"{OWN}/{topic}").retained
        assert stranger.wait_for_message(topics.discovery("porch")).retained


def test_the_birth_message_of_home_assistant_triggers_discovery(heard: Client) -> None:
    before = len(heard.messages_on(topics.discovery("porch")))
    heard.publish("homeassistant/status", b"online")
    wait_until(lambda: len(heard.messages_on(topics.discovery("porch"))) > before, "it is announced again")
