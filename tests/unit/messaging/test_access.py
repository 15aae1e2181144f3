"""The broker's files in the repository match the code, and no role has unneeded rights."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edge.configuration.settings import Mqtt, Secret
from edge.core.errors import ConfigError
from edge.messaging.access import ACCOUNTS, Account, acl_text, rights, user_of
from edge.messaging.broker_configuration import shared_broker
from edge.messaging.login import credentials, tls_context

ROOT = Path(__file__).parents[3]


def test_the_broker_files_in_the_repository_are_up_to_date() -> None:
    assert (ROOT / "mosquitto.conf").read_text() == shared_broker()
    assert (ROOT / "deploy/mosquitto/acl").read_text() == acl_text("porch")


@pytest.mark.parametrize("account", ACCOUNTS)
def test_no_account_may_read_or_write_everything(account: Account) -> None:
    for right in rights(account, "porch"):
        assert right.topic.startswith(("imhearing/porch/", "homeassistant/"))
        assert not right.topic.startswith("$")
        assert "+" not in right.topic
        assert not right.topic.endswith("/request/#")  # 400 retained messages of 250 kB each would arrive at each start
        assert right.access == "read" or right.topic != "homeassistant/#"


def topics_of(account: Account, access: str, part: str) -> set[str]:
    """What stands below `part` of the topics of a right."""
    found = [right.topic.partition(part) for right in rights(account, "porch") if right.access == access]
    return {rest for _, between, rest in found if between}


def test_only_control_and_page_send_commands_and_read_responses() -> None:
    others = set(ACCOUNTS) - {"control", "page"}
    assert not any(topics_of(account, "write", "/request/") for account in others)
    assert not any(topics_of(account, "read", "/response/") for account in others)


def test_the_page_sends_what_carries_a_proof_alone_and_control_neither_keeps_nor_erases() -> None:
    verbs = ("archive", "forget", "hold", "pause", "resume", "rotate")
    assert topics_of("page", "write", "/request/") == {f"owner/{verb}" for verb in verbs}
    assert topics_of("page", "read", "/response/") == {"owner/#"}
    assert len(rights("page", "porch")) == len(verbs) + 1
    assert topics_of("control", "write", "/request/") == {
        "pause", "resume", "recording", "rotate", "set", "archive", "query"
    }  # fmt: skip


def test_the_mqtt_rights_in_security_md_are_up_to_date() -> None:
    text = (ROOT / "docs/security.md").read_text(encoding="utf-8")
    for account in ACCOUNTS:
        row = re.search(rf"^\| `{user_of(account, 'porch')}` \|(.*)\|(.*)\|$", text, re.MULTILINE)
        assert row, f"no row for {account}"
        for access, cell in zip(("read", "write"), row.groups(), strict=True):
            wanted = {right.topic.replace("imhearing/porch/", "") for right in rights(account, "porch")
                      if right.access == access}  # fmt: skip
            assert set(re.findall(r"`([^`]+)`", cell)) == wanted


def test_each_service_logs_in_with_its_own_account() -> None:
    settings = Mqtt(username="porch-{role}", password=Secret("common"), recorder_password=Secret("own"))
    assert credentials(settings, "recorder") == ("porch-recorder", "own")
    assert credentials(settings, "control") == ("porch-control", "common")


def test_there_is_a_tls_context_only_with_tls() -> None:
    assert tls_context(Mqtt()) is None
    assert tls_context(Mqtt(tls="on")) is not None


def test_a_missing_or_invalid_certificate_is_a_configuration_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="ca_file"):
        tls_context(Mqtt(tls="on", ca_file=str(tmp_path / "none.crt")))
    (tmp_path / "bad.crt").write_text("no certificate")
    with pytest.raises(ConfigError, match="ca_file"):
        tls_context(Mqtt(tls="on", ca_file=str(tmp_path / "bad.crt")))
    with pytest.raises(ConfigError, match="cert_file"):
        tls_context(Mqtt(tls="on", cert_file=str(tmp_path / "bad.crt")))
