"""Opening the page as a visitor does, and what is heard of it."""

from __future__ import annotations

import contextlib
import time
from base64 import b64decode
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from edge.configuration.settings import Settings
from edge.embedded import ports
from query_service.page.codes import make_code
from tests.support.nodes.query_node import running_service
from tests.support.wait import DEADLINE, wait_until

KEY = "the key of the node"
PASSWORD = "correct horse"
OTHER_NAME = "porch.example"  # of this machine, for the browser: plain HTTP is no secure context there
MINUTE = "#from=2026-03-03T21:59:55Z&to=2026-03-03T22:00:20Z"
# every buffer that the page hands to its player
HEARD = """
window.heard = [];
const start = AudioBufferSourceNode.prototype.start;
const encoded = (samples) => {
  const bytes = new Uint8Array(Int16Array.from(samples, (sample) => Math.round(sample * 32768)).buffer);
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(text);
};
AudioBufferSourceNode.prototype.start = function (when, offset) {
  const { numberOfChannels: length, sampleRate: rate } = this.buffer;
  const channels = Array.from({ length }, (_, channel) => encoded(this.buffer.getChannelData(channel)));
  window.heard.push({ rate, channels, offset, speed: this.playbackRate.value });
  return start.call(this, when, offset);
};
"""
expect.set_options(timeout=DEADLINE * 1000)
REFUSED = "Failed to load resource"  # what Chromium's console says of each answer that is no success


@contextlib.contextmanager
def new_page(browser: Browser, *, expected: str = "", **options: Any) -> Iterator[Page]:
    """A page whose console must stay empty, but for what begins with `expected`."""
    said: list[str] = []
    context = browser.new_context(**{"viewport": {"width": 1200, "height": 900}, **options})
    opened = context.new_page()
    opened.set_default_timeout(DEADLINE * 1000)
    opened.add_init_script(HEARD)
    opened.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    opened.on("pageerror", lambda problem: said.append(str(problem)))
    try:
        yield opened
    finally:
        context.close()
    unexpected = [text for text in said if not (expected and text.startswith(expected))]
    assert not unexpected, unexpected


@contextlib.contextmanager
def running_page(settings: Settings) -> Iterator[None]:
    """Runs the query service meanwhile, from when its page can be opened."""
    with running_service(settings):
        wait_until(lambda: ports.answers(settings.http.port), "the page can be opened")
        yield


def address(settings: Settings, fragment: str = "") -> str:
    return f"http://127.0.0.1:{settings.http.port}/{fragment}"


def open_as_owner(page: Page, settings: Settings, fragment: str = MINUTE) -> None:
    page.goto(address(settings, f"{fragment}&code={make_code(KEY, time.time())}"))
    expect(page.locator("#role")).to_have_text("Logged in as owner")
    assert "code=" not in page.url
    # the range of the address is shown: what is typed before would move another one
    expect(page.locator("#legend")).to_contain_text("recorded")


def heard(page: Page, count: int = 1) -> list[Any]:
    page.wait_for_function("count => window.heard.length >= count", arg=count)
    found: list[Any] = page.evaluate("window.heard")
    for each in found:
        each["channels"] = [np.frombuffer(b64decode(text), "<i2").tolist() for text in each["channels"]]
        each["samples"] = each["channels"][0]
    return found


def tab_to(page: Page, wanted: Locator) -> None:
    for _ in range(60):
        if wanted.evaluate("element => element === document.activeElement"):
            return
        page.keyboard.press("Tab")
    pytest.fail("the Tab key does not lead there")
