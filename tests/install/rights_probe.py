"""What one of the node's three users may do: run inside a copy of its service, and as that user without the sandbox.

    rights_probe.py ROLE NODE PID...     prints one JSON object: for each subject, which of its rights were granted

The services run meanwhile; PIDs are those of the two other services. Standard library, and the node's own MQTT library
and proofs.
"""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import socket
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

STATE, SPOOL = Path("/var/lib/imhearing"), Path("/var/lib/imhearing/spool")
SOCKET = "/run/imhearing-broker/mqtt.sock"
SECONDS = 5.0  # a second is enough for an order that is obeyed

Act = Callable[[], object]


def is_granted(act: Act) -> bool:
    """`act` raises OSError where the kernel refuses, and returns False where nobody obeyed."""
    try:
        return act() is not False
    except (OSError, KeyError):  # KeyError: without a service there are no credentials
        return False


def reads(path: Path) -> Act:
    return lambda: path.open("rb").read(1)


def writes(path: Path) -> Act:
    return lambda: os.close(os.open(path, os.O_WRONLY))


def lists(path: Path) -> Act:
    return lambda: list(path.iterdir())


def creates(folder: Path) -> Act:
    def act() -> None:
        trial = folder / f".trial-{os.getuid()}"
        os.close(os.open(trial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        trial.unlink()

    return act


def removes(path: Path) -> Act:
    """Another's file: it is given another name, and its own again."""

    def act() -> None:
        aside = path.with_name(path.name + ".trial")
        path.rename(aside)
        aside.rename(path)

    return act


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        if condition():
            return True
        time.sleep(0.1)
    return False


def is_paused() -> bool:
    state: dict[str, object] = json.loads((SPOOL / "state.json").read_bytes())
    return state["state"] == "paused"


def pauses_by_file() -> bool:
    """As `imhearing pause` on the node does."""
    order = SPOOL / "pause.json"
    new = order.with_name(f"pause.json.{secrets.token_hex(4)}.tmp")
    new.write_text('{"until": null}')
    new.rename(order)
    try:
        return within(SECONDS, is_paused)
    finally:
        order.unlink()
        within(SECONDS, lambda: not is_paused())


def erases() -> bool:
    """As `imhearing forget` does, of a time without sound."""
    name = secrets.token_hex(8)
    order, result = STATE / f"orders/erase-{name}.json", STATE / f"orders/result-{name}.json"
    times = {"from": "2001-01-01T00:00:00Z", "to": "2001-01-01T00:00:01Z", "at": "2026-01-01T00:00:00Z"}
    order.write_text(json.dumps({"id": name, **times}))
    return within(2 * SECONDS, result.exists)


def connects() -> None:
    with socket.socket(socket.AF_UNIX) as door:
        door.connect(SOCKET)


def pauses_over_the_broker(node: str) -> bool:
    """With every account whose password it has; and as the page, with whatever it can make of its own secrets."""
    from paho.mqtt import client as mqtt  # noqa: PLC0415
    from paho.mqtt.enums import CallbackAPIVersion  # noqa: PLC0415

    credentials = {path.name: path.read_text().strip() for path in Path(os.environ["CREDENTIALS_DIRECTORY"]).iterdir()}
    for name, password in credentials.items():
        if not (found := re.fullmatch(r"imhearing_mqtt_(\w+)_password", name)):
            continue
        client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5, transport="unix")
        client.username_pw_set(f"{node}-{found[1]}", password)
        client.connect(SOCKET)
        client.loop_start()
        try:
            for number, proof in enumerate(proofs(credentials.values())):
                for verb in ("pause", "owner/pause"):
                    command = json.dumps({"id": f"rights-probe-{number}", "proof": proof})
                    client.publish(f"imhearing/{node}/request/{verb}", command, qos=1).wait_for_publish(SECONDS)
            if within(SECONDS, is_paused):
                return True
        finally:
            client.loop_stop()
    return False


def proofs(known: Iterable[str]) -> list[str]:
    """What could pass for the owner's proof."""
    from edge.messaging.owner_proof import make_proof, signing_key  # noqa: PLC0415

    now = time.time()
    return ["", *(each for text in known for each in (text, make_proof(text, now), make_proof(signing_key(text), now)))]


def subjects(role: str, node: str, others: list[int]) -> dict[str, dict[str, Act]]:
    """Every right of each subject."""
    etc, secrets_of_all, broker = Path("/etc/imhearing"), Path("/etc/credstore"), Path("/etc/mosquitto/imhearing")
    program, own = Path("/opt/imhearing/current"), Path(os.environ.get("CREDENTIALS_DIRECTORY", "/nowhere"))
    memory, sound = Path("/run/imhearing-recorder"), SPOOL / "trial.flac"
    state, holds = SPOOL / "state.json", STATE / "holds.json"
    passwords = [broker / name for name in ("mqtt.ini", "passwords", "ca.key", "server.key")]
    system = [Path(f"/{name}") for name in ("etc", "usr", "home", "root", "srv", "etc/systemd/system")]
    return {
        "`/etc/imhearing/config.ini`": {"read": reads(etc / "config.ini"), "write": writes(etc / "config.ini")},
        "`/etc/credstore`: all secrets": {"read": lists(secrets_of_all), "write": creates(secrets_of_all)},
        "its own credentials": {"read": lists(own), "write": creates(own)},
        "`/etc/mosquitto/imhearing`: every account's password, the keys": {
            "read": lambda: any(is_granted(reads(path)) for path in passwords),
            "write": creates(broker),
        },
        "`/opt/imhearing`: the program": {"read": reads(program / "imhearing.py"), "write": creates(program)},
        "the spool": {"list": lists(SPOOL), "add": creates(SPOOL), "remove": removes(sound)},
        "sound in the spool": {"read": reads(sound), "change": writes(sound)},
        "`spool/state.json`: what the recorder does": {"read": reads(state), "change": writes(state)},
        "an order to pause, in the spool": {"obeyed": pauses_by_file},
        "`recorder/`: `node.json`, calibration": {
            "read": reads(STATE / "recorder/node.json"),
            "write": creates(STATE / "recorder"),
        },
        "`/run/imhearing-recorder`: sound in memory": {
            "list": lists(memory),
            "read": reads(memory / "trial"),
            "write": creates(memory),
        },
        "the catalog": {
            "read": reads(STATE / "catalog.db"),
            "write": writes(STATE / "catalog.db"),
            "replace": removes(STATE / "trial.db"),
        },
        "holds": {"read": reads(holds), "write": removes(holds)},
        "an order to erase, in `orders/`": {"read": lists(STATE / "orders"), "obeyed": erases},
        "the broker's socket": {"connect": connects, "replace": creates(Path(SOCKET).parent)},
        "a command over the broker, from its accounts": {"obeyed": partial(pauses_over_the_broker, node)},
        "sound cards": {"open": opens_sound_card},
        "the other services' processes": {
            "read": lambda: any(is_granted(reads(Path(f"/proc/{pid}/environ"))) for pid in others),
            "end": lambda: any(is_granted(partial(os.kill, pid, 0)) for pid in others),
        },
        "`/etc`, `/usr`, `/home`, `/root`, `/srv`": {
            "write": lambda: any(is_granted(creates(folder)) for folder in system)
        },
        "the clock": {"set": lambda: time.clock_settime(time.CLOCK_REALTIME, time.time())},
    }


def opens_sound_card() -> bool:
    """There is none behind the node of the trial; whether the kernel came as far as to look."""
    try:
        os.close(os.open("/dev/snd/pcmC0D0c", os.O_RDWR | os.O_NONBLOCK))
    except OSError as problem:
        return problem.errno in (errno.ENXIO, errno.ENODEV)
    return True


def main() -> None:
    role, node, *others = sys.argv[1:]
    found = {
        subject: [right for right, act in rights.items() if is_granted(act)]
        for subject, rights in subjects(role, node, [int(pid) for pid in others]).items()
    }
    if folder := os.environ.get("CREDENTIALS_DIRECTORY"):
        found["its own credentials"] += sorted(path.name for path in Path(folder).iterdir())
    sys.stdout.write(f"{json.dumps(found)}\n")


if __name__ == "__main__":
    main()
