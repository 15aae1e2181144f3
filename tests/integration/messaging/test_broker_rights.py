"""Every account times every topic against the real broker: allowed or refused as docs/security.md says."""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import paho.mqtt.client as paho
import pytest

from edge.core.certificates import expiry
from edge.messaging import topics
from edge.messaging.access import ACCOUNTS, Account, user_of
from edge.messaging.commands import EVERY_REQUEST
from edge.messaging.events import EVENTS
from tests.support.messaging.mqtt import connected
from tests.support.messaging.secure_broker import SecureBroker, secure_broker, set_up

OWN = "imhearing/porch"
MARKER = f"{OWN}/recorder/status"  # which every account may read, except for the page's
ANSWERS = f"{OWN}/response/owner/pause"  # which that may read
NOT_ALLOWED = 135
TOPICS = [
    *(f"{OWN}/{event.TOPIC}" for event in EVENTS),
    *(f"{OWN}/request/{verb}" for verb in sorted(EVERY_REQUEST)),
    *(f"{OWN}/response/{verb}" for verb in sorted(EVERY_REQUEST)),
    f"{OWN}/request/nonsense",
    f"{OWN}/response/control/4f2d9c1e",
    f"{OWN}/anything",
    "imhearing/garden/recorder/state",
    "imhearing/garden/request/pause",
    "imhearing/garden/response/query",
    topics.discovery("porch"),
    topics.discovery("garden"),
    "homeassistant/status",
    "homeassistant/switch/lamp/config",
    "$SYS/broker/uptime",
    "zigbee2mqtt/lamp/set",
]


@pytest.fixture(scope="module")
def broker() -> Iterator[SecureBroker]:
    with secure_broker() as running:
        yield running


def table() -> dict[str, dict[str, list[str]]]:
    """What docs/security.md says: account -> read or write -> topic filters."""
    text = (Path(__file__).parents[3] / "docs" / "security.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `porch-(\w+)` \|(.*)\|(.*)\|$", text, re.MULTILINE)

    def topics(cell: str) -> list[str]:
        found = re.findall(r"`([^`]+)`", cell)
        return [topic if topic.startswith("homeassistant/") else f"{OWN}/{topic}" for topic in found]

    return {account: {"read": topics(read), "write": topics(write)} for account, read, write in rows}


TABLE = table()


def allowed(account: Account, access: str, topic: str) -> bool:
    granted = TABLE[account][access]
    return any(paho.topic_matches_sub(topic_filter, topic) for topic_filter in granted)


def login(broker: SecureBroker, account: Account) -> tuple[str, str]:
    return user_of(account, "porch"), broker.passwords[user_of(account, "porch")]


@pytest.mark.parametrize("account", ACCOUNTS)
def test_an_account_receives_only_the_topics_it_may_read(broker: SecureBroker, account: Account) -> None:
    with (
        connected(broker.port, "admin", broker.passwords["admin"]) as admin,
        connected(broker.port, *login(broker, account)) as client,
    ):
        client.subscribe("#", "$SYS/#", "+/+/+/+", *TOPICS)
        for topic in TOPICS:
            if not topic.startswith("$SYS"):
                admin.publish(topic, b"said")
        last = ANSWERS if account == "page" else MARKER
        admin.publish(last, b"the end")
        client.wait_for_message(last, lambda heard: heard.payload == b"the end")
        assert {heard.topic for heard in client.received} == {
            topic for topic in TOPICS if allowed(account, "read", topic)
        }  # fmt: skip


@pytest.mark.parametrize("account", ACCOUNTS)
def test_an_account_can_publish_only_on_the_topics_it_may_write(broker: SecureBroker, account: Account) -> None:
    with (
        connected(broker.port, "admin", broker.passwords["admin"]) as admin,
        connected(broker.port, *login(broker, account)) as client,
    ):
        admin.subscribe("#")
        answers = {topic: client.publish(topic, b"mine") for topic in TOPICS}
        taken = {topic for topic, reason in answers.items() if reason != NOT_ALLOWED}
        assert taken == {topic for topic in TOPICS if allowed(account, "write", topic)}
        admin.publish(MARKER, b"the end")
        admin.wait_for_message(MARKER, lambda heard: heard.payload == b"the end")
        assert {heard.topic for heard in admin.received if heard.payload == b"mine"} == taken


def test_every_account_can_read_some_topics_and_none_can_read_all() -> None:
    for account in ACCOUNTS:
        readable = [topic for topic in TOPICS if allowed(account, "read", topic)]
        assert 0 < len(readable) < len(TOPICS) - 5


@pytest.mark.parametrize(
    ("user", "password"), [(None, None), ("porch-recorder", "wrong"), ("nobody", ""), ("porch-recorder", None)]
)
@pytest.mark.parametrize("listener", ["network", "loopback"])
def test_every_listener_rejects_missing_and_wrong_passwords(
    broker: SecureBroker, listener: str, user: str | None, password: str | None
) -> None:
    where = (broker.tls_port, broker.ca_file) if listener == "network" else (broker.port, None)
    with (
        pytest.raises(AssertionError, match=r"(?i)not authorized|bad user"),
        connected(where[0], user, password, where[1]),
    ):
        pass


def test_the_network_listener_accepts_the_right_password(broker: SecureBroker) -> None:
    with connected(broker.tls_port, *login(broker, "viewer"), broker.ca_file) as client:
        client.subscribe(f"{OWN}/#")


def test_the_network_listener_accepts_only_tls(broker: SecureBroker) -> None:
    done = subprocess.run(
        ["mosquitto_sub", "-h", "127.0.0.1", "-p", str(broker.tls_port), "-t", "#", "-W", "2"],
        capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0


def test_broker_secrets_are_private_and_survive_another_broker_setup(tmp_path: Path) -> None:
    folder = tmp_path / "broker"
    output = set_up(folder, "porch", "--name", "192.168.1.20")
    kept = _content(folder)
    for name in ("passwords", "server.key", "ca.key", "mqtt.ini", "viewer/mosquitto_sub", "control/mosquitto_pub"):
        assert not stat.S_IMODE((folder / name).stat().st_mode) & stat.S_IRWXO, name
    for name in ("mosquitto.conf", "ca.crt", "server.crt"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o644, name
    password = next(line for line in output.splitlines() if line.startswith("Password:")).split()[1]
    assert password not in (folder / "passwords").read_text()
    again = set_up(folder, "porch")
    assert password not in again
    assert _content(folder) == kept
    set_up(folder, "porch", "--renew-passwords")
    assert (folder / "passwords").read_bytes() != kept["passwords"]
    assert (folder / "ca.crt").read_bytes() == kept["ca.crt"]


def _content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_broker_certificate_passes_strict_verification_for_its_names(tmp_path: Path) -> None:
    set_up(tmp_path, "porch", "--name", "192.168.1.20", "--name", "broker.example")
    verify = ["openssl", "verify", "-x509_strict", "-CAfile", str(tmp_path / "ca.crt")]
    server = str(tmp_path / "server.crt")
    for name in (["-verify_ip", "192.168.1.20"], ["-verify_hostname", "broker.example"]):
        assert subprocess.run([*verify, *name, server], check=False, capture_output=True).returncode == 0
    wrong = [*verify, "-verify_hostname", "evil.example", server]
    assert subprocess.run(wrong, check=False, capture_output=True).returncode != 0


def test_broker_setup_issues_a_certificate_for_the_page_that_apple_accepts(tmp_path: Path) -> None:
    output = set_up(tmp_path, "porch", "--name", "pi.local", "--page")
    assert f"http.certificate={tmp_path}/page.crt http.key={tmp_path}/page.key" in output
    page, key = tmp_path / "page.crt", tmp_path / "page.key"
    verify = ["openssl", "verify", "-x509_strict", "-CAfile", str(tmp_path / "ca.crt"), "-verify_hostname", "pi.local"]
    assert subprocess.run([*verify, str(page)], check=False, capture_output=True).returncode == 0
    days = (expiry(str(page), str(key)) / 1e6 - time.time()) / 86_400
    assert 818 < days < 821  # more than 825 are refused: support.apple.com/HT210176
    assert not stat.S_IMODE(key.stat().st_mode) & stat.S_IRWXO
    before = page.read_bytes()
    broker = (tmp_path / "server.crt").read_bytes()
    set_up(tmp_path, "porch", "--page")
    assert page.read_bytes() != before  # renewed
    assert (tmp_path / "server.crt").read_bytes() == broker


def test_broker_setup_uses_the_certificate_given(tmp_path: Path) -> None:
    yours, folder = tmp_path / "yours", tmp_path / "broker"
    set_up(yours, "porch")
    for name in ("server.crt", "server.key", "ca.crt"):
        shutil.copy(yours / name, tmp_path / name)
    set_up(
        folder, "porch", "--cert", str(tmp_path / "server.crt"), "--key", str(tmp_path / "server.key"),
        "--ca", str(tmp_path / "ca.crt"),
    )  # fmt: skip
    assert (folder / "server.crt").read_bytes() == (yours / "server.crt").read_bytes()
    assert not (folder / "ca.key").exists()
