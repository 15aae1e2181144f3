"""The table of rights in docs/security.md is what was observed on an installed node (tests/install/rights)."""

from __future__ import annotations

import pytest

from tests.install.rights_table import DOCUMENT, observed, table, with_table

OWN = ("spool", "recorder/", "catalog", "holds", "orders/", "config.ini", "credstore", "mosquitto", "the program")


def test_the_documented_table_is_what_was_observed() -> None:
    document = DOCUMENT.read_text(encoding="utf-8")
    assert document == with_table(document, table(observed()["rights"]))


@pytest.mark.parametrize("role", ["recorder", "archiver", "query"])
def test_in_the_nodes_own_folders_the_users_alone_have_the_rights_of_their_services(role: str) -> None:
    """What the sandbox adds is not needed there: another program of that user has no more."""
    found = observed()
    own = [subject for subject in found["rights"][role] if any(name in subject for name in OWN)]
    assert len(own) > len(OWN)
    assert {s: found["user"][role][s] for s in own} == {s: found["rights"][role][s] for s in own}


def test_the_query_service_may_change_nothing_and_order_nothing() -> None:
    rights = observed()["rights"]["query"]
    granted = {right for subject, found in rights.items() for right in found if subject != "its own credentials"}
    assert granted == {"read", "list", "connect"}


def test_no_service_may_command_another_or_read_its_secrets() -> None:
    for role, rights in observed()["rights"].items():
        assert rights["a command over the broker, from its accounts"] == []
        assert rights["`/etc/credstore`: all secrets"] == []
        assert not any(f"mqtt_{other}_" in name for other in {"recorder", "archiver", "query"} - {role}
                       for name in rights["its own credentials"])  # fmt: skip
    assert observed()["rights"]["archiver"]["an order to pause, in the spool"] == []
