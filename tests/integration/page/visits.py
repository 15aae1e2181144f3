"""Opening the page as a visitor does, and what is heard of it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from playwright.sync_api import Browser, Page, expect

from edge.configuration.settings import Settings
from edge.embedded import ports
from query_service.page.codes import make_code
from tests.support.nodes.query_node import running_service
from tests.support.wait import DEADLINE, wait_until

KEY = "the key of the node"
PASSWORD = "correct horse"
MINUTE = "#from=2026-03-03T21:59:55Z&to=2026-03-03T22:00:20Z"
# every buffer that the page hands to its player
HEARD = """
window.heard = [];
const start = AudioBufferSourceNode.prototype.start;
AudioBufferSourceNode.prototype.start = function (when, offset) {
  const channels = Array.from({ length: this.buffer.numberOfChannels }, (_, channel) =>
    Array.from(this.buffer.getChannelData(channel), (sample) => Math.round(sample * 32768)));
  const { sampleRate: rate } = this.buffer;
  window.heard.push({ rate, samples: channels[0], channels, offset, speed: this.playbackRate.value });
  return start.call(this, when, offset);
};
"""
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
    return found
