"""The page from another machine: a browser in a network namespace of its own, over an address that is not loopback."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import subprocess
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pytest
import soundfile
from msgspec.structs import replace
from playwright.sync_api import Page, Playwright, expect

from edge.configuration.settings import Http, Query, Secret, Settings
from edge.embedded import ports
from query_service.doors.sessions import password_hash
from tests.support.browser import OBSERVED, heard, running_browser
from tests.support.nodes.query_node import QueryNode, running_service
from tests.support.spool.chunks import RATE
from tests.support.wait import DEADLINE

OWNER, VIEWER = "correct horse", "battery staple"
SELECTION = "#from=2026-03-03T21:59:55Z&to=2026-03-03T22:00:20Z&play=2026-03-03T22:00:01Z&until=2026-03-03T22:00:04Z"


class Network(NamedTuple):
    """A cable between this machine, which has `here`, and another one."""

    here: str
    namespace: str


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    if os.geteuid() != 0:
        pytest.skip("only root may make a network namespace")
    if shutil.which("ip") is None:
        pytest.skip("without `ip` (Debian: iproute2) there is no network namespace")
    number = os.getpid() % 65_536
    name, subnet = f"imh{number}", f"10.{200 + number // 16_384}.{number // 64 % 256}"
    here, there = (f"{subnet}.{number % 64 * 4 + host}" for host in (1, 2))
    near, far = f"{name}a", f"{name}b"
    with contextlib.ExitStack() as stack:
        made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
        if made.returncode:
            pytest.skip(f"this machine makes no network namespace: {made.stderr.strip()}")
        stack.callback(run, "ip", "netns", "delete", name)  # and the cable with it
        run("ip", "link", "add", near, "type", "veth", "peer", "name", far, "netns", name)
        run("ip", "address", "add", f"{here}/30", "dev", near)
        run("ip", "link", "set", near, "up")
        inside = ("ip", "netns", "exec", name, "ip")
        run(*inside, "address", "add", f"{there}/30", "dev", far)
        run(*inside, "link", "set", far, "up")
        yield Network(here, name)


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> QueryNode:
    return QueryNode(tmp_path_factory.mktemp("node"), chunks=10)


@pytest.fixture(scope="module")
def settings(network: Network, node: QueryNode) -> Iterator[Settings]:
    http = Http(
        host=network.here,
        port=ports.choose(None),
        owner_password=Secret(password_hash(OWNER)),
        viewer_password=Secret(password_hash(VIEWER)),
    )
    made = replace(node.with_doors(), http=http, query=Query(cursor_key=Secret("the key of the node")))
    with running_service(made):
        yield made


@pytest.fixture(scope="module")
def page(
    driver: Playwright, network: Network, settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Page]:
    """A shared link is opened, on the other machine."""
    program = tmp_path_factory.mktemp("bin") / "chromium"
    program.write_text(f'#!/bin/sh\nexec ip netns exec {network.namespace} chromium "$@"\n')
    program.chmod(0o755)
    with running_browser(driver, program=str(program)) as browser:
        opened = browser.new_page(viewport={"width": 1200, "height": 900})
        opened.set_default_timeout(DEADLINE * 1000)
        opened.add_init_script(OBSERVED)
        opened.goto(f"http://{network.here}:{settings.http.port}/{SELECTION}")
        yield opened


def test_a_viewer_sees_and_an_owner_hears_from_another_machine_with_their_passwords(
    page: Page, node: QueryNode
) -> None:
    dialog = page.locator("#log-in-dialog")
    expect(dialog).to_be_visible()  # nothing is shown before
    expect(page.locator("#log-in-warning")).to_contain_text("not encrypted")
    expect(page.locator("#calendar button")).to_have_count(0)
    log_in(page, "a guess")
    expect(page.locator("#log-in-problem")).not_to_be_empty()

    log_in(page, VIEWER)
    expect(page.locator("#role")).to_have_text("Logged in as viewer")
    expect(page.locator("#legend")).to_contain_text("recorded")
    expect(page.locator("#sound-problem")).to_have_text("Log in as the owner to hear this.")

    page.click("#log-in")
    log_in(page, OWNER)
    expect(page.locator("#role")).to_have_text("Logged in as owner")
    page.click("#play")
    sound = heard(page)
    assert sound.rate == RATE
    # Chromium decodes 16 bits to multiples of 1/32767 or 1/32768
    np.testing.assert_array_equal(np.round(sound.samples[:, 0] * 2**15), samples_of(node)[RATE : 4 * RATE])

    page.click("#copy")  # a page over plain HTTP has no clipboard
    expect(page.locator("#command")).to_be_focused()
    with page.expect_download() as downloading:
        page.click("#flac")
    downloaded, _ = soundfile.read(downloading.value.path(), dtype="int16")
    np.testing.assert_array_equal(downloaded, samples_of(node)[RATE : 4 * RATE])

    page.click("#log-out")
    expect(dialog).to_be_visible()
    expect(page.locator("#calendar button")).to_have_count(0)


def log_in(page: Page, password: str) -> None:
    page.fill("#password", password)
    page.keyboard.press("Enter")


def samples_of(node: QueryNode) -> np.ndarray:
    parts = [soundfile.read(io.BytesIO(node.audio[name]), dtype="int16")[0] for name in sorted(node.audio)]
    return np.concatenate(parts)
