"""Every mosquitto_sub, mosquitto_pub and mosquitto_rr line of the documentation is run against a running node."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import imhearing
from edge.configuration import loader as config
from edge.core import wire
from edge.messaging.commands import COMMANDS
from edge.messaging.events import EVENTS, Response
from edge.messaging.owner_proof import make_proof, signing_key
from edge.messaging.topics import ROOT
from edge.recorder import service
from tests.support.messaging.json_schema import faults
from tests.support.messaging.mqtt import Client, connected
from tests.support.messaging.own_broker import running_own_broker
from tests.support.wait import DEADLINE, wait_until

DOCS = Path(__file__).parents[2] / "docs"
OWNER_KEY = "the key of the owner"
_TIMED_OUT = 27  # of mosquitto_sub: nothing came, or it had no -C
_RARE = {"recorder/gap", "recorder/clock", "recorder/threshold", "archiver/archive", "query/"}


def blocks(name: str) -> list[tuple[str, str]]:
    """Each block of shell lines with the output that stands below it."""
    text = (DOCS / name).read_text(encoding="utf-8")
    return re.findall(r"```sh\n(.*?)\n```(?:\n```json\n(.*?)\n```)?", text, re.DOTALL)


LINES = [(line, output) for name in ("mqtt.md",) for line, output in blocks(name)]
INLINE = re.findall(r"`(mosquitto_sub [^`]+)`", (DOCS / "home-assistant.md").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Client, dict[str, str]]]:
    """A client that hears everything, and the environment in which Mosquitto's programs find the broker."""
    folder = tmp_path_factory.mktemp("node")
    with running_own_broker() as broker, connected(*broker.login("control")) as client:
        client.subscribe("#")
        for program in ("mosquitto_sub", "mosquitto_pub", "mosquitto_rr"):
            patience = "" if program == "mosquitto_pub" else "-W 3\n"
            (folder / program).write_text((broker.folder / "control" / program).read_text() + patience)
        proof = make_proof(signing_key(OWNER_KEY), time.time())
        (folder / "garden").mkdir()
        (folder / "garden" / "broker").symlink_to(broker.folder)
        sets = [
            *broker.overrides, f"http.owner_key={OWNER_KEY}", "node.name=porch", "recorder.source=synthetic",
            "recorder.record_period=1", "thresholds.sound_level=-60", "thresholds.records_count=2",
            "s3.endpoint_url=http://127.0.0.1:9", "s3.s3_bucket_name=nowhere", "s3.access_key_id=x",
            "s3.secret_access_key=y",
        ]  # fmt: skip
        stop = threading.Event()
        recorder = threading.Thread(target=service.run, args=(config.load(folder, None, sets), stop))
        recorder.start()
        archiver = subprocess.Popen(
            [sys.executable, imhearing.__file__, "archiver", "--data", str(folder)]
            + [part for each in sets for part in ("--set", each)],
            stderr=subprocess.DEVNULL,
        )
        try:
            client.wait_for_message("imhearing/porch/archiver/state")
            client.wait_for_message("imhearing/porch/recorder/chunk")
            yield client, {**os.environ, "XDG_CONFIG_HOME": str(folder), "PWD": str(folder), "PROOF": proof}
        finally:
            archiver.terminate()
            archiver.wait(DEADLINE)
            stop.set()
            recorder.join(DEADLINE)


def run(line: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    shell = ["bash", "-c", f"set -o pipefail; {line}"]
    where = environment["PWD"]
    return subprocess.run(
        shell, cwd=where, env=environment, capture_output=True, text=True, timeout=DEADLINE, check=False
    )


@pytest.mark.parametrize("line", [line for line, _ in LINES if line.startswith("mosquitto_sub")] + INLINE)
def test_documented_subscriptions_receive_messages(node: tuple[Client, dict[str, str]], line: str) -> None:
    done = run(line, node[1])
    assert done.returncode in (0, _TIMED_OUT), done.stderr
    if line.endswith("response/#'") or any(f"/{rare}" in line for rare in _RARE):
        return  # nothing of it happens now
    assert done.stdout, done.stderr
    for event in EVENTS:
        if line.endswith(f" -t {ROOT}/porch/{event.TOPIC}"):
            assert not faults(json.loads(done.stdout), event.__name__)


def test_the_line_in_the_readme_shows_events_as_the_viewer(node: tuple[Client, dict[str, str]]) -> None:
    [line] = re.findall(r"^env .*mosquitto_sub .*$", (DOCS.parent / "README.md").read_text(encoding="utf-8"), re.M)
    done = run(f"{line} -C 1 -W 30", node[1])
    assert done.stdout.startswith(f"{ROOT}/porch/"), done.stderr


@pytest.mark.parametrize("line", [line for line, _ in LINES if line.startswith("mosquitto_pub")])
def test_documented_commands_are_executed_and_answered(node: tuple[Client, dict[str, str]], line: str) -> None:
    client, environment = node
    match = re.search(r"request/([\w/]+)", line)
    assert match
    verb = match[1]
    if verb.startswith("owner/"):
        environment = {**environment, "XDG_CONFIG_HOME": f"{environment['PWD']}/garden/broker/page"}
    before = len(client.messages_on(f"{ROOT}/porch/response/{verb}"))
    done = run(line, environment)
    assert done.returncode == 0, done.stderr
    if verb not in {request for command in COMMANDS for request in command.requests()}:
        return  # the query service's
    wait_until(lambda: len(client.messages_on(f"{ROOT}/porch/response/{verb}")) > before, f"{verb} is answered")
    answer = wire.decode(client.messages_on(f"{ROOT}/porch/response/{verb}")[before].payload, Response)
    assert answer.ok, answer


@pytest.mark.parametrize(("line", "output"), [each for each in LINES if each[0].startswith("mosquitto_rr")])
def test_documented_mqtt_5_requests_get_the_documented_responses(
    node: tuple[Client, dict[str, str]], line: str, output: str
) -> None:
    done = run(line, node[1])
    assert done.returncode == 0, done.stderr
    received, written = json.loads(done.stdout), json.loads(output)
    assert received | {"id": ""} == written | {"id": ""}


def test_every_topic_and_verb_has_a_documented_command_line() -> None:
    lines = "\n".join(line for line, _ in LINES)
    assert all(f"porch/{event.TOPIC}\n" in lines + "\n" for event in EVENTS)
    assert all(f"request/{command.requests()[0]} " in lines for command in COMMANDS)
    assert len(INLINE) == 1


def test_no_documented_command_line_shows_a_secret_to_the_machines_other_users() -> None:
    for path in (DOCS.parent / "README.md", *DOCS.glob("*.md")):
        for block in re.findall(r"```sh\n(.*?)```", path.read_text(encoding="utf-8"), re.S):
            for line in block.replace("\\\n", "").splitlines():
                arguments = re.sub(r"<<< .*|@<\(printf .*?\)|^ *export .*", "", line)
                assert not re.search(r"\$(TOKEN|PROOF|\(imhearing page proof)", arguments), f"{path.name}: {line}"


def test_documented_outputs_match_the_schemas() -> None:
    for line, output in LINES:
        for event in EVENTS:
            if line.endswith(f"/{event.TOPIC}"):
                assert not faults(json.loads(output), event.__name__)
