"""What lies in the repository for the broker is what the code says, and no role has a right too many."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edge.configuration.settings import Mqtt, Secret
from edge.core.errors import ConfigError
from edge.messaging.access import ACCOUNTS, Account, acl_text, configuration, rights, user_of
from edge.messaging.login import credentials, tls_context

ROOT = Path(__file__).parents[3]


def test_the_files_in_the_repository_are_up_to_date() -> None:
    assert (ROOT / "mosquitto.conf").read_text() == configuration()
    assert (ROOT / "deploy/mosquitto/acl").read_text() == acl_text("porch")


@pytest.mark.parametrize("account", [None, *ACCOUNTS])
def test_nobody_may_read_or_write_everything(account: Account | None) -> None:
    for right in rights(account, "porch"):
        assert right.topic.startswith(("imhearing/porch/", "homeassistant/"))
        assert not right.topic.startswith("$")
        assert "+" not in right.topic
        assert right.access == "read" or right.topic != "homeassistant/#"


def test_only_commands_come_from_home_automation_and_only_it_reads_answers() -> None:
    writers = {account for account in ACCOUNTS for right in rights(account, "porch")
               if right.access == "write" and "/request/" in right.topic}  # fmt: skip
    readers = {account for account in (None, *ACCOUNTS) for right in rights(account, "porch")
               if right.access == "read" and "/response/" in right.topic}  # fmt: skip
    assert writers == readers == {"control"}


def test_the_table_in_the_documentation_is_what_the_code_says() -> None:
    text = (ROOT / "docs/security.md").read_text(encoding="utf-8")
    for account in ACCOUNTS:
        row = re.search(rf"^\| `{user_of(account, 'porch')}` \|(.*)\|(.*)\|$", text, re.MULTILINE)
        assert row, f"no row for {account}"
        for access, cell in zip(("read", "write"), row.groups(), strict=True):
            wanted = {right.topic.replace("imhearing/porch/", "") for right in rights(account, "porch")
                      if right.access == access}  # fmt: skip
            assert set(re.findall(r"`([^`]+)`", cell)) == wanted


def test_each_service_logs_in_as_itself() -> None:
    settings = Mqtt(username="porch-{role}", password=Secret("common"), recorder_password=Secret("own"))
    assert credentials(settings, "recorder") == ("porch-recorder", "own")
    assert credentials(settings, "control") == ("porch-control", "common")


def test_without_tls_there_is_no_context() -> None:
    assert tls_context(Mqtt()) is None
    assert tls_context(Mqtt(tls="on")) is not None


def test_a_certificate_that_is_not_there_is_a_fault_of_the_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="ca_file"):
        tls_context(Mqtt(tls="on", ca_file=str(tmp_path / "none.crt")))
    (tmp_path / "bad.crt").write_text("no certificate")
    with pytest.raises(ConfigError, match="ca_file"):
        tls_context(Mqtt(tls="on", ca_file=str(tmp_path / "bad.crt")))
    with pytest.raises(ConfigError, match="cert_file"):
        tls_context(Mqtt(tls="on", cert_file=str(tmp_path / "bad.crt")))
