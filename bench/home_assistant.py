"""A real Home Assistant against a real node.

Every entity appears and has a state, the switch pauses and resumes, a loud sound turns the binary sensor on, states
survive restarts of broker, node and Home Assistant, removal cleans up.

    python3.13 -m venv ha && ha/bin/pip install homeassistant
    .venv/bin/python -m bench.home_assistant ha/bin/hass
    .venv/bin/python -m bench.home_assistant --tls ha/bin/hass      # on a broker of `imhearing broker-setup`

Home Assistant installs what its integrations need at its first start, so that one takes minutes. 127.0.0.1 only.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import io
import json
import os
import re
import secrets
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, get_args

import jwt
import soundfile
from websockets.sync.client import connect

from edge.configuration.loader import to_ini
from edge.configuration.settings import S3, Mqtt, Node, Recorder, Secret, Settings, Thresholds
from edge.embedded import ports
from edge.embedded.child import Child
from edge.messaging.home_assistant import discovery_payload
from edge.messaging.login import Role
from tests.support.messaging.broker import open_broker
from tests.support.messaging.secure_broker import secure_broker
from tests.support.store.s3 import running_store

NODE = "porch"
ROOT = Path(__file__).parents[1]
_MAY_BE_UNKNOWN = {
    "sensor.im_hearing_porch_paused_until",  # not paused
    "sensor.im_hearing_porch_last_archive",  # before the first loud sound nothing is archived
    "sensor.im_hearing_porch_cost_this_month",
    "sensor.im_hearing_porch_disk_left",
    "button.im_hearing_porch_rotate",  # a button's state is when it was pressed
    "button.im_hearing_porch_archive_now",
}


class Access(NamedTuple):
    port: int
    token: str

    def call(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """Home Assistant's REST API."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            None if body is None else json.dumps(body).encode(),
            {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return json.load(answer)

    def states(self) -> dict[str, dict[str, Any]]:
        return {state["entity_id"]: state for state in self.call("/api/states") if f"_{NODE}_" in state["entity_id"]}

    def state(self, entity: str) -> str:
        found = self.states().get(entity)
        return found["state"] if found else "(absent)"

    def do(self, domain: str, service: str, entity: str, **data: Any) -> None:
        self.call(f"/api/services/{domain}/{service}", {"entity_id": entity, **data})


def wait(condition: Callable[[], Any], what: str, timeout: float = 60) -> Any:
    deadline = time.monotonic() + timeout
    while True:
        with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            if value := condition():
                return value
        assert time.monotonic() < deadline, f"waited {timeout:g} s in vain until {what}"
        time.sleep(0.2)


def prepare(folder: Path, broker: dict[str, Any], port: int) -> str:
    """A Home Assistant that knows one user and one broker; gives the user's token."""
    storage = folder / ".storage"
    storage.mkdir(parents=True)
    (folder / "configuration.yaml").write_text(
        f"http:\n  server_host: 127.0.0.1\n  server_port: {port}\napi:\nzone:\nautomation: !include automations.yaml\n"
    )
    (folder / "automations.yaml").write_text(documented_automations())
    user, refresh, key, at = (
        secrets.token_hex(16),
        secrets.token_hex(16),
        secrets.token_hex(64),
        "2025-01-01T00:00:00+00:00",
    )
    store(storage, "onboarding", 4, {"done": ["user", "core_config", "analytics", "integration"]})
    store(
        storage, "auth", 1,
        {
            "users": [
                {
                    "id": user, "group_ids": ["system-admin"], "is_owner": True, "is_active": True, "name": "trial",
                    "system_generated": False, "local_only": False,
                }
            ],
            "groups": [{"id": "system-admin", "name": "Administrators"}],
            "credentials": [],
            "refresh_tokens": [
                {
                    "id": refresh, "user_id": user, "client_id": None, "client_name": "trial", "client_icon": None,
                    "token_type": "long_lived_access_token", "created_at": at, "access_token_expiration": 1e8,
                    "token": secrets.token_hex(64), "jwt_key": key, "last_used_at": None, "last_used_ip": None,
                    "expire_at": None, "credential_id": None, "version": None,
                }
            ],
        },
    )  # fmt: skip
    store(
        storage, "core.config_entries", 1,
        {
            "entries": [
                {
                    "created_at": at, "modified_at": at, "data": broker,
                    "disabled_by": None, "discovery_keys": {}, "domain": "mqtt", "entry_id": "0" * 26,
                    "minor_version": 2, "options": {}, "pref_disable_new_entities": False, "source": "user",
                    "pref_disable_polling": False, "subentries": [], "title": "broker", "unique_id": None, "version": 1,
                }
            ]
        },
    )  # fmt: skip
    now = int(time.time())
    return jwt.encode({"iss": refresh, "iat": now, "exp": now + 10**7}, key, algorithm="HS256")


def documented_automations() -> str:
    """Those of docs/home-assistant.md; what is ten minutes there is three seconds here, and it is always night."""
    text = (ROOT / "docs" / "home-assistant.md").read_text(encoding="utf-8")
    found = [block for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if block.startswith("- id:")]
    assert len(found) == 3
    text = "".join(found).replace("minutes: 10", "seconds: 3")
    return text.replace('after: "22:00:00"', 'after: "00:00:00"').replace('before: "06:00:00"', 'before: "23:59:59"')


def store(folder: Path, key: str, version: int, data: dict[str, Any]) -> None:
    text = json.dumps({"version": version, "minor_version": 1, "key": key, "data": data})
    (folder / key).write_text(text)


@contextlib.contextmanager
def process(*command: str | Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as output:
        running = subprocess.Popen([*map(str, command)], stdout=output, stderr=subprocess.STDOUT, cwd=ROOT)
    try:
        yield running
    finally:
        running.terminate()
        running.wait(60)


@contextlib.contextmanager
def broker(port: int, folder: Path) -> Iterator[Child]:
    child = Child(open_broker(port, folder))
    try:
        wait(lambda: ports.answers(port), "the broker answers")
        yield child
    finally:
        child.terminate()
        child.end(5)


def tell(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("hass", type=Path, help="Home Assistant's program")
    parser.add_argument("--tls", action="store_true", help="with TLS, users and access rights; without restarts")
    parser.add_argument("--keep", type=Path, help="folder to work in, kept (default: a temporary one)")
    args = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = args.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="imhearing-ha-")))
        (trial_over_tls if args.tls else trial)(args.hass.absolute(), folder.absolute())


def trial(hass: Path, folder: Path) -> None:
    broker_port, port = ports.choose(None), ports.choose(None)
    access = Access(port, prepare(folder / "ha", {"broker": "127.0.0.1", "port": broker_port}, port))
    home: list[str | Path] = [hass, "-c", folder / "ha"]
    with contextlib.ExitStack() as stack:
        bucket = stack.enter_context(running_store())
        common: list[str | Path] = [
            "--data",
            folder / "node",
            "--config",
            write_config(folder, Mqtt(host="127.0.0.1", port=broker_port), bucket.settings),
        ]
        recorder = [sys.executable, "imhearing.py", "recorder", *common]
        for name in ("archiver", "query-service"):
            command = [sys.executable, "imhearing.py", name, *common]
            stack.enter_context(process(*command, log=folder / f"{name}.log"))
        with broker(broker_port, folder / "broker"):
            with process(*recorder, log=folder / "recorder.log"), process(*home, log=folder / "ha.log"):
                check_entities(access, first=True)
                check_switch(access)
                check_numbers_and_buttons(access)
                check_sound(access)
                check_automations(access)
            tell("recorder and Home Assistant ended")
        (folder / "broker" / "mosquitto.db").unlink(missing_ok=True)
        tell("the broker ended, its database is deleted; all three start again")
        with broker(broker_port, folder / "broker"), process(*home, log=folder / "ha.log"):
            with process(*recorder, log=folder / "recorder.log"):
                check_entities(access)
            wait(
                lambda: access.state("switch.im_hearing_porch_recording") == "unavailable", "the switch is unavailable"
            )
            tell("recorder ended: its entities are unavailable")
            wait(lambda: triggered(access, "nothing_was_recorded_for_ten_minutes"), "the alarm is raised")
            tell("automation: the alarm that nothing is recorded is raised")
            silent: list[str | Path] = [*recorder, "--set", "mqtt.discovery="]
            with process(*silent, log=folder / "recorder.log"):
                wait(lambda: not access.states(), "every entity is gone")
            tell("discovery switched off: every entity is gone")
    tell_complaints(folder)


def trial_over_tls(hass: Path, folder: Path) -> None:
    """As `imhearing broker-setup` prints it: `porch-control` for Home Assistant, and the CA's certificate."""
    with secure_broker(NODE) as broker, running_store() as bucket, contextlib.ExitStack() as stack:
        user = f"{NODE}-control"
        entered = {
            "broker": "127.0.0.1", "port": broker.tls_port, "username": user, "password": broker.passwords[user],
            "certificate": Path(broker.ca_file).read_text(), "tls_insecure": False,
        }  # fmt: skip
        access = Access(port := ports.choose(None), prepare(folder / "ha", entered, port))
        roles: dict[str, Any] = {
            f"{role}_password": Secret(broker.passwords[f"{NODE}-{role}"]) for role in get_args(Role)
        }
        node = Mqtt(
            host="127.0.0.1",
            port=broker.tls_port,
            tls="on",
            ca_file=broker.ca_file,
            username=f"{NODE}-{{role}}",
            **roles,
        )
        common: list[str | Path] = ["--data", folder / "node", "--config", write_config(folder, node, bucket.settings)]
        for name in ("archiver", "query-service", "recorder"):
            command = [sys.executable, "imhearing.py", name, *common]
            stack.enter_context(process(*command, log=folder / f"{name}.log"))
        stack.enter_context(process(hass, "-c", folder / "ha", log=folder / "ha.log"))
        check_entities(access, first=True)
        check_switch(access)
        check_numbers_and_buttons(access)
        check_sound(access)
        check_automations(access)
    tell_complaints(folder)


def tell_complaints(folder: Path) -> None:
    errors = re.findall(
        r"^.*(?:ERROR|WARNING).*(?:mqtt|automation|imhearing).*$", (folder / "ha.log").read_text(), re.MULTILINE
    )
    tell(f"complaints about us in Home Assistant's log: {len(errors)}")
    for line in errors[:20]:
        print(line[:300])


def write_config(folder: Path, mqtt: Mqtt, bucket: S3) -> Path:
    settings = Settings(
        node=Node(name=NODE),
        recorder=Recorder(source="synthetic", record_period=2),
        mqtt=mqtt,
        thresholds=Thresholds(sound_level=-40, records_count=0),
        s3=bucket,
    )
    path = folder / "config.ini"
    path.write_text(to_ini(settings, "of a trial"))
    path.chmod(0o600)
    return path


def check_entities(access: Access, *, first: bool = False) -> None:
    may_be_unknown = _MAY_BE_UNKNOWN | ({"sensor.im_hearing_porch_last_gap"} if first else set())
    wanted = {part["default_entity_id"] for part in discovery_payload(NODE, "dBFS")["components"].values()}
    begin = time.monotonic()
    wait(lambda: wanted <= set(access.states()), "every entity is there", 600)
    tell(f"{len(wanted)} entities appeared, {time.monotonic() - begin:.0f} s after the start")

    def without_state() -> list[str]:
        states = access.states()
        return [
            f"{entity}: {states[entity]['state']}"
            for entity in sorted(wanted - may_be_unknown)
            if states[entity]["state"] in ("unknown", "unavailable")
        ]

    try:
        wait(lambda: not without_state(), "every entity has a state", 60)
    except AssertionError:
        raise AssertionError(f"without a state: {without_state()}") from None
    tell(f"each of them has a state, but for {len(wanted & may_be_unknown)} that need not")
    for entity, state in sorted(access.states().items()):
        unit = state["attributes"].get("unit_of_measurement", "")
        print(f"    {entity:58} {state['state']} {unit}")


def check_switch(access: Access) -> None:
    switch, until = "switch.im_hearing_porch_recording", "sensor.im_hearing_porch_paused_until"
    access.do("switch", "turn_off", switch)
    wait(lambda: access.state(switch) == "off", "the switch is off")
    assert access.state(until) == "unknown"
    tell("switch off: the node is paused")
    wait(lambda: access.state("sensor.im_hearing_porch_sound_level") == "unavailable", "no level while paused")
    access.do("switch", "turn_on", switch)
    wait(lambda: access.state(switch) == "on", "the switch is on")
    tell("switch on: it records")
    access.do("number", "set_value", "number.im_hearing_porch_pause_for", value=30)
    wait(lambda: access.state(switch) == "off" and access.state(until) not in ("unknown", "None"), "paused for 30 min")
    tell(f"paused for 30 minutes: until {access.state(until)}")
    access.do("number", "set_value", "number.im_hearing_porch_pause_for", value=0)
    wait(lambda: access.state(switch) == "on", "the pause is over")


def check_numbers_and_buttons(access: Access) -> None:
    number = "number.im_hearing_porch_archive_at_chunks"
    access.do("number", "set_value", number, value=123)
    wait(lambda: float(access.state(number)) == 123, "the limit is in force")
    tell("a limit set in Home Assistant is in force")
    before = access.state("sensor.im_hearing_porch_backlog")
    access.do("button", "press", "button.im_hearing_porch_rotate")
    access.do("button", "press", "button.im_hearing_porch_archive_now")
    wait(lambda: access.state("button.im_hearing_porch_rotate") not in ("unknown", "(absent)"), "rotate was pressed")
    tell(f"rotate and archive-now pressed (backlog was {before})")


def check_sound(access: Access) -> None:
    sound, event = "binary_sensor.im_hearing_porch_sound", "event.im_hearing_porch_loud_sound"
    wait(lambda: access.state(sound) == "off", "it is quiet", 120)
    wait(lambda: access.state(sound) == "on", "a loud sound is heard", 120)
    tell("a loud sound: the binary sensor is on")
    state = access.states()[event]
    assert state["attributes"]["event_type"] in ("started", "ended"), state
    tell(f"state of the event entity: {state['attributes']['event_type']}, {state['attributes'].get('lafmax')} dBFS")
    wait(lambda: access.state(sound) == "off", "it is quiet again", 120)


def triggered(access: Access, name: str) -> Any:
    states = {state["entity_id"]: state for state in access.call("/api/states")}
    return states[f"automation.im_hearing_{name}"]["attributes"].get("last_triggered")


def check_automations(access: Access) -> None:
    """Somebody comes home and goes; a chunk with a sound is finished, and the link in the message plays it."""
    switch = "switch.im_hearing_porch_recording"
    for people, wanted in (("1", "off"), ("0", "on")):
        access.call("/api/states/zone.home", {"state": people})
        wait(functools.partial(_is, access, switch, wanted), f"recording is {wanted} with {people} at home")
    tell("automation: paused while somebody is at home")

    def heard() -> list[dict[str, str]]:
        return [each for each in notifications(access) if each["title"].startswith("A loud sound: ")]

    message = wait(heard, "the automation tells of a loud sound at night", 120)[-1]
    link = re.fullmatch(r"\[Listen\]\((http://127\.0\.0\.1:\d+/[^)]+)\)", message["message"])
    assert link, message
    with urllib.request.urlopen(link[1], timeout=10) as answer:  # noqa: S310
        sound = answer.read()
    with soundfile.SoundFile(io.BytesIO(sound)) as file:
        tell(f"automation: {message['title']!r}; its link plays {file.frames / file.samplerate:.2f} s of {file.format}")
        assert file.frames > 0


def _is(access: Access, entity: str, state: str) -> bool:
    return access.state(entity) == state


def notifications(access: Access) -> list[dict[str, str]]:
    """The messages that Home Assistant shows now; its REST API has them no more."""
    with connect(f"ws://127.0.0.1:{access.port}/api/websocket", proxy=None) as socket:
        socket.recv(10)
        socket.send(json.dumps({"type": "auth", "access_token": access.token}))
        socket.recv(10)
        socket.send(json.dumps({"id": 1, "type": "persistent_notification/get"}))
        found: list[dict[str, str]] = json.loads(socket.recv(10))["result"]
        return found


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    main()
