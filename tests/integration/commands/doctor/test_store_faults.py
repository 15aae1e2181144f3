"""A node and its store at odds in one way each: doctor names the fault, and the command that it suggests fixes it."""

from __future__ import annotations

import re
import shlex
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from commands.doctor import machine
from commands.doctor.node_under_test import Finding
from tests.support.messaging.secure_broker import set_up
from tests.support.nodes.breakable_node import BreakableNode
from tests.support.store.fault_proxy import LOGIN_PAGE, refusal, running_proxy
from tests.support.store.faults import FAULTS, RegionKeeper, StoreFault, always, wants_virtual_hosts
from tests.support.store.s3 import RunningStore, running_store


@pytest.fixture(scope="module")
def keys() -> Iterator[Path]:
    """A CA of our own, and a certificate for localhost."""
    with tempfile.TemporaryDirectory(prefix="imhearing-keys-") as name:
        set_up(Path(name), "porch")
        yield Path(name)


def written(node: BreakableNode) -> Finding:
    return node.run_checks("store")["store.write"]


def assert_healthy(node: BreakableNode) -> None:
    found = node.run_checks("store")
    assert {finding.state for finding in found.values()} == {"ok"}, found


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_store_fault_is_named_and_its_remedy_fixes_it(
    node: BreakableNode, store: RunningStore, fault: StoreFault
) -> None:
    with running_proxy(store.settings) as (proxy, through):
        proxy.choose = fault.answer
        node.set_store(through)
        node.set(*fault.settings)
        before = written(node)
        assert before.state == "fault"
        assert fault.words in before.message
        if fault.changes:
            assert node.apply_remedy(before).returncode == 0
        else:
            assert before.remedy
            proxy.heal()  # as the remedy says
        assert_healthy(node)


def test_an_expired_session_token_leads_to_the_credentials_file(
    node: BreakableNode, store: RunningStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = node.data / "credentials"
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    key, secret = store.settings.access_key_id.reveal(), store.settings.secret_access_key.reveal()
    lines = f"[default]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n"
    file.write_text(f"{lines}aws_session_token = old\n")
    with running_proxy(store.settings) as (proxy, through):
        expired = refusal(400, "ExpiredToken", "The provided token has expired.")
        proxy.choose = lambda request: expired if "x-amz-security-token" in request.headers else None
        node.set_store(through)
        node.set("s3.access_key_id=", "s3.secret_access_key=")
        before = written(node)
        assert "the session token has expired" in before.message
        assert before.remedy == f"renew the credentials in {file}"
        file.write_text(lines)
        assert_healthy(node)


def test_the_wrong_region_is_replaced_by_the_one_that_the_store_names(node: BreakableNode, store: RunningStore) -> None:
    with running_proxy(store.settings) as (proxy, through):
        proxy.choose = RegionKeeper("eu-central-1")
        node.set_store(through)
        found = node.run_checks("store")
        assert found["store.write"].state == "ok"
        assert found["store.region"].state == "fault"
        assert "is in region eu-central-1, not us-east-1" in found["store.region"].message
        assert node.apply_remedy(found["store.region"]).returncode == 0
        assert_healthy(node)


def test_a_region_that_the_store_does_not_name_is_asked_for(node: BreakableNode, store: RunningStore) -> None:
    with running_proxy(store.settings) as (proxy, through):
        proxy.choose = RegionKeeper("eu-central-1", "nowhere")
        node.set_store(through)
        before = written(node)
        assert "set [s3] s3_region" in before.message
        assert node.apply_remedy(before, placeholders={"REGION": "eu-central-1"}).returncode == 0
        assert_healthy(node)


def test_a_web_server_in_place_of_a_store_is_replaced(node: BreakableNode, store: RunningStore) -> None:
    with running_proxy(store.settings) as (proxy, through):
        proxy.choose = always(LOGIN_PAGE._replace(status=404))
        node.set_store(through)
        before = written(node)
        assert "another web server answered" in before.message
        assert node.apply_remedy(before, placeholders={"https://HOST": store.settings.endpoint_url}).returncode == 0
        assert_healthy(node)


def test_a_private_ca_needs_its_certificate(node: BreakableNode, store: RunningStore, keys: Path) -> None:
    with running_proxy(store.settings, keys) as (_, through):
        node.set_store(through)
        before = written(node)
        assert "is from an unknown CA; set [s3] ca_file" in before.message
        assert node.apply_remedy(before, placeholders={"PATH/TO": str(keys)}).returncode == 0
        assert_healthy(node)
        assert machine.check_offset(node.under_test()).state == "ok"


def test_a_ca_file_that_is_missing_is_named(node: BreakableNode, store: RunningStore, keys: Path) -> None:
    with running_proxy(store.settings, keys) as (_, through):
        node.set_store(through)
        node.set("s3.ca_file=elsewhere.crt")
        before = written(node)
        assert f"ca_file = {node.data}/elsewhere.crt: cannot be used (No such file or directory)" in before.message
        assert node.apply_remedy(before, placeholders={"PATH/TO": str(keys)}).returncode == 0
        assert_healthy(node)


def test_a_store_that_does_not_speak_tls(node: BreakableNode, store: RunningStore) -> None:
    node.set_store(store.settings)
    address = store.settings.endpoint_url
    node.set(f"s3.endpoint_url={address.replace('http:', 'https:')}")
    before = written(node)
    assert "it does not speak TLS" in before.message
    assert node.apply_remedy(before, placeholders={"http://HOST": address}).returncode == 0
    assert_healthy(node)


def test_a_store_that_wants_the_bucket_in_the_host_name(
    node: BreakableNode, monkeypatch: pytest.MonkeyPatch, local_hosts: set[str]
) -> None:
    monkeypatch.setenv("RCLONE_FORCE_PATH_STYLE", "false")
    local_hosts |= {"store.test", "imhearing.store.test"}
    with running_store() as store, running_proxy(store.settings) as (proxy, through):
        proxy.choose = wants_virtual_hosts
        node.set_store(through)
        node.set(f"s3.endpoint_url={through.endpoint_url.replace('127.0.0.1', 'store.test')}")
        before = written(node)
        assert "set [s3] addressing = virtual" in before.message
        assert node.apply_remedy(before).returncode == 0
        assert_healthy(node)


def test_a_bucket_that_is_no_part_of_a_host_name(
    node: BreakableNode, store: RunningStore, local_hosts: set[str]
) -> None:
    local_hosts.add("store.test")
    node.set_store(store.settings)
    node.set(f"s3.endpoint_url={store.settings.endpoint_url.replace('127.0.0.1', 'store.test')}")
    node.set("s3.addressing=virtual")
    before = written(node)
    assert before.state == "fault"
    assert node.apply_remedy(before).returncode == 0
    assert_healthy(node)


def test_the_policy_that_a_missing_right_leads_to_grants_it(node: BreakableNode, store: RunningStore) -> None:
    with running_proxy(store.settings) as (proxy, through):
        node.set_store(through)
        for method, check in (("PUT", "store.write"), ("GET", "store.read"), ("DELETE", "store.delete")):
            proxy.choose = lambda request, method=method: "denied" if request.method == method else None  # type: ignore[misc]
            remedy = node.run_checks("store")[check].remedy
            right, document = re.findall(r"s3:\w+", remedy)[0], re.findall(r"docs/\S+\.md", remedy)[0]
            policy = (machine.ROOT / document).read_text().partition("For the archiver")[2].partition("```\n")[0]
            assert f'"{right}"' in policy, shlex.quote(remedy)
        proxy.heal()
        assert_healthy(node)
