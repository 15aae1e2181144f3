"""Debian's Chromium, driven by Playwright; and what tests and benches observe in the page."""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from playwright.sync_api import Browser, Page, Playwright, expect, sync_playwright

from tests.support.wait import DEADLINE

# only observes: every buffer that the page hands to its player, and where its cursor is, sixty times a second
OBSERVED = """
window.heard = [];
window.cursor = [];
const inBase64 = (samples) => {
  const bytes = new Uint8Array(samples.slice().buffer);
  let text = "";
  for (let at = 0; at < bytes.length; at += 32768) text += String.fromCharCode(...bytes.subarray(at, at + 32768));
  return btoa(text);
};
const start = AudioBufferSourceNode.prototype.start;
AudioBufferSourceNode.prototype.start = function (when, offset) {
  const { buffer } = this;
  const channels = Array.from({ length: buffer.numberOfChannels }, (_, n) => inBase64(buffer.getChannelData(n)));
  window.heard.push({ rate: buffer.sampleRate, channels, offset, speed: this.playbackRate.value });
  return start.call(this, when, offset);
};
const look = () => {
  const text = document.getElementById("position")?.textContent;
  if (text) window.cursor.push([performance.timeOrigin + performance.now(), text]);
  requestAnimationFrame(look);
};
requestAnimationFrame(look);
"""


@contextlib.contextmanager
def running_browser(
    driver: Playwright | None = None,
    *arguments: str,
    environment: dict[str, str] | None = None,
    is_heard: bool = False,
    program: str | None = None,
) -> Iterator[Browser]:
    """Without a window, and unless it `is_heard`, without a loudspeaker. `program`: what starts it otherwise.

    A thread can have one driver: where there is one already, it is handed in.
    """
    program = program or shutil.which("chromium")
    assert program, "scripts/setup --dev installs chromium"
    rights: Sequence[str] = ["--no-sandbox"] if os.geteuid() == 0 else []
    expect.set_options(timeout=DEADLINE * 1000)
    with contextlib.nullcontext(driver) if driver else sync_playwright() as playwright:
        env: dict[str, str | float | bool] = {**os.environ, **(environment or {})}
        browser = playwright.chromium.launch(
            executable_path=program,
            args=[*arguments, *rights],
            env=env,
            ignore_default_args=["--mute-audio"] if is_heard else None,
        )
        try:
            yield browser
        finally:
            browser.close()


class Heard(NamedTuple):
    """The last buffer that the page handed to its player."""

    rate: int
    samples: np.ndarray  # (frames, channels)
    speed: float


def heard(page: Page) -> Heard:
    page.wait_for_function("() => window.heard.length > 0")
    last = page.evaluate("window.heard.at(-1)")
    channels = [np.frombuffer(base64.b64decode(text), "<f4") for text in last["channels"]]
    return Heard(last["rate"], np.stack(channels, axis=1), last["speed"])
