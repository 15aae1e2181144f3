"""Faults of the store, its bucket and key: doctor names each, and its remedy fixes it."""

from __future__ import annotations

import pytest

from commands.doctor import machine
from edge.configuration.settings import S3
from edge.embedded import ports
from tests.support.nodes.breakable_node import BreakableNode
from tests.support.nodes.doctor import assert_fault, assert_ok
from tests.support.store.fault_proxy import Request, running_proxy
from tests.support.store.s3 import RunningStore, running_store


def test_a_store_that_is_not_running_is_reported(node: BreakableNode) -> None:
    port = ports.choose(None)
    node.set_store(S3("garden", endpoint_url=f"http://127.0.0.1:{port}"))
    node.set("s3.access_key_id=a", "s3.secret_access_key=b")
    assert_fault(before := node.run_checks("store")["store.write"], f"127.0.0.1:{port}")
    offset = node.run_checks("clock")["clock.offset"]
    assert (offset.state, offset.remedy) == ("warning", before.remedy)
    by_up = machine.check_offset(node.under_test()._replace(by_up=True))
    assert by_up.remedy == f"imhearing up --data {node.data}"
    with running_store(port=port) as running:
        node.set_store(running.settings)
        found = node.run_checks("store")
        assert {finding.state for finding in found.values()} == {"ok"}, found
        assert [path for path in running.folder.rglob("*") if path.is_file()] == []


def test_a_wrong_secret_key_is_reported_and_fixed(node: BreakableNode, store: RunningStore) -> None:
    node.set_store(store.settings)
    node.set("s3.secret_access_key=wrong")
    before = node.run_checks("store")["store.write"]
    assert_fault(before, "secret")
    key, secret = store.settings.access_key_id.reveal(), store.settings.secret_access_key.reveal()
    assert node.apply_remedy(before, typed=f"{key}\n{secret}\n").returncode == 0
    assert_ok(node.run_checks("store")["store.write"])


def test_a_missing_bucket_is_reported_and_fixed(node: BreakableNode, store: RunningStore) -> None:
    node.set_store(store.settings)
    node.set("s3.s3_bucket_name=garden")
    before = node.run_checks("store")["store.write"]
    assert_fault(before, "there is no bucket 'garden'")
    assert node.apply_remedy(before).returncode == 0
    assert_ok(node.run_checks("store")["store.write"])


def test_presigned_links_that_do_not_work_are_reported_and_fixed(node: BreakableNode, store: RunningStore) -> None:
    node.set_store(store.settings)
    node.set(f"s3.public_endpoint_url=http://127.0.0.1:{ports.choose(None)}")
    before = node.run_checks("store")["store.link"]
    assert_fault(before, "does not work")
    assert node.apply_remedy(before).returncode == 0
    assert_ok(node.run_checks("store")["store.link"])


@pytest.mark.parametrize(
    ("request_name", "check", "state"), [("GET", "store.read", "fault"), ("DELETE", "store.delete", "warning")]
)
def test_a_key_without_all_permissions_is_reported(
    node: BreakableNode, store: RunningStore, request_name: str, check: str, state: str
) -> None:
    with running_proxy(store.settings) as (proxy, settings):
        node.set_store(settings)
        proxy.choose = lambda request: "denied" if request.name == request_name else None
        found = node.run_checks("store")
        assert (found["store.write"].state, found[check].state) == ("ok", state)
        assert "docs/storage.md" in found[check].remedy
        proxy.heal()
        assert_ok(node.run_checks("store")[check])


def test_doctor_says_what_verifies_archives(node: BreakableNode, store: RunningStore) -> None:
    with running_proxy(store.settings) as (proxy, settings):
        node.set_store(settings)
        assert_ok(node.run_checks("store")["store.read_back"])
        proxy.choose = lambda request: "denied" if request.name == "GET" else None
        found = node.run_checks("store")["store.read_back"]
        assert (found.state, "by the store's answers alone" in found.message) == ("warning", True)
        proxy.heal()
        node.set("s3.read_back=first")
        found = node.run_checks("store")["store.read_back"]
        assert (found.state, "by the store's answers alone" in found.message) == ("warning", True)
        assert node.apply_remedy(found).returncode == 0
        assert_ok(node.run_checks("store")["store.read_back"])


def test_a_store_that_rejects_the_nodes_clock_is_reported(node: BreakableNode, store: RunningStore) -> None:
    with running_proxy(store.settings) as (proxy, settings):
        node.set_store(settings)

        def refuse(_request: Request) -> str:
            return "skewed"

        proxy.choose = refuse  # type: ignore[assignment]
        before = node.run_checks("store")["store.write"]
        assert_fault(before, "RequestTimeTooSkewed")
        assert before.remedy == "sudo timedatectl set-ntp true"
