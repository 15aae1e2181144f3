"""Live listening in a real Chromium: what the microphone hears is what the page plays, and everyone sees it."""

from __future__ import annotations

import time
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace
from playwright.sync_api import Browser, Page, expect

from edge.catalog import Catalog
from edge.configuration import loader
from edge.configuration.settings import Http, Query, Secret, Settings
from edge.core.kernel_clock import KernelClock
from edge.embedded import ports
from query_service.page.codes import make_code
from query_service.sound.wav import endless_header
from tests.support.nodes.query_node import running_service
from tests.support.recording.listening import decoders
from tests.support.recording.microphone import find_samples, write_noise
from tests.support.recording.recorder_process import RecorderProcess, running_recorder
from tests.support.wait import DEADLINE, wait_until

KEY = "the key of the node"
RATE = 48_000
# the samples that the page plays, one after the other, at which rate; in base64, as numbers are slow to hand over
HEARD = """
window.heard = [];
window.frames = 0;
const start = AudioBufferSourceNode.prototype.start;
AudioBufferSourceNode.prototype.start = function (when) {
  const bytes = new Uint8Array(
    Int16Array.from(this.buffer.getChannelData(0), (sample) => Math.round(sample * 32768)).buffer,
  );
  let samples = "";
  for (let at = 0; at < bytes.length; at += 8192) samples += String.fromCharCode(...bytes.subarray(at, at + 8192));
  window.heard.push({ rate: this.buffer.sampleRate, context: this.context.sampleRate, samples: btoa(samples) });
  window.frames += this.buffer.length;
  return start.call(this, when);
};
"""


@pytest.fixture
def noise(tmp_path: Path) -> np.ndarray:
    return write_noise(tmp_path / "noise.wav", 300, 1, RATE)


@pytest.fixture
def recorder(tmp_path: Path, noise: np.ndarray) -> Iterator[RecorderProcess]:
    source = f"recorder.source={tmp_path / 'noise.wav'}"
    with running_recorder(tmp_path / "data", source, "recorder.pace=real", "recorder.record_period=1") as running:
        running.wait_until_recording()
        yield running


@pytest.fixture
def settings(recorder: RecorderProcess) -> Iterator[Settings]:
    """Of a running query service that lets its owner listen."""
    made = replace(
        loader.load(recorder.data, None, ["node.name=porch"]),
        http=Http(port=ports.choose(None), live="yes"),
        query=Query(cursor_key=Secret(KEY)),
    )
    catalog = Catalog(made.catalog.db_path)
    catalog.open()
    catalog.close()
    with running_service(made):
        wait_until(lambda: ports.answers(made.http.port), "the door is open")
        yield made


@pytest.fixture
def owner(browser: Browser, settings: Settings) -> Iterator[Page]:
    """The page of somebody logged in."""
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(DEADLINE * 1000)
    page.add_init_script(HEARD)
    page.goto(f"{address(settings)}#code={make_code(KEY, time.time())}")
    expect(page.locator("#role")).to_have_text("Logged in as owner")
    yield page
    context.close()


@pytest.fixture
def other(browser: Browser, settings: Settings) -> Iterator[Page]:
    """The page of somebody who may not hear."""
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(DEADLINE * 1000)
    page.goto(address(settings))
    yield page
    context.close()


def address(settings: Settings) -> str:
    return f"http://127.0.0.1:{settings.http.port}/"


def heard_seconds(page: Page, seconds: float) -> np.ndarray:
    """What the page has played, once it is that much."""
    page.wait_for_function("most => window.frames >= most", arg=round(seconds * RATE))
    heard = page.evaluate("window.heard")
    assert {(each["rate"], each["context"]) for each in heard} == {(RATE, RATE)}
    return np.concatenate([np.frombuffer(b64decode(each["samples"]), "<i2") for each in heard])


def test_listening_plays_every_sample_until_it_is_stopped_and_everyone_sees_it(
    owner: Page, other: Page, noise: np.ndarray
) -> None:
    expect(other.locator("#listeners")).to_have_text("Nobody is listening live")
    expect(other.locator("#listen")).to_be_hidden()
    owner.click("#listen")
    expect(owner.locator("#listen")).to_have_text("Stop listening")
    heard = heard_seconds(owner, 4)
    place = find_samples(noise, heard)
    assert place >= 0
    np.testing.assert_array_equal(heard, noise[place : place + len(heard)])
    expect(other.locator("#listeners")).to_have_text("Live: 1 listening", timeout=DEADLINE * 1000)
    owner.click("#listen")
    expect(owner.locator("#listen")).to_have_text("Listen live")
    wait_until(lambda: not decoders(), "the decoder ends with the last listener")
    expect(other.locator("#listeners")).to_have_text("Nobody is listening live", timeout=DEADLINE * 1000)


def test_by_keyboard_a_pause_is_heard_as_silence_and_named(owner: Page, recorder: RecorderProcess) -> None:
    expect(owner.locator("#listen")).to_be_visible(timeout=DEADLINE * 1000)
    owner.locator("#listen").focus()
    owner.keyboard.press("Enter")
    heard_seconds(owner, 1)
    recorder.spool.pause.order(None, KernelClock())
    expect(owner.locator("#listen-problem")).to_have_text("Paused", timeout=DEADLINE * 1000)
    expect(owner.locator("#listen")).to_have_text("Listen live")
    wait_until(lambda: not decoders(), "the decoder ends with the pause")
    owner.keyboard.press("Enter")
    expect(owner.locator("#listen-problem")).to_have_text("Paused", timeout=DEADLINE * 1000)
    recorder.spool.pause.remove()
    recorder.wait_until_recording()
    before = owner.evaluate("window.heard.length")
    expect(owner.locator("#status")).to_contain_text("Recording", timeout=DEADLINE * 1000)
    owner.keyboard.press("Enter")
    owner.wait_for_function("before => window.heard.length > before", arg=before)


def test_of_what_comes_late_in_a_heap_only_the_newest_is_heard(owner: Page, noise: np.ndarray) -> None:
    late = noise[: 20 * RATE]
    body = endless_header(RATE, 1, 16) + late.astype("<i2").tobytes()
    owner.route("**/live", lambda route: route.fulfill(body=body, content_type="audio/wav"), times=1)
    owner.click("#listen")
    heard = heard_seconds(owner, 1)
    owner.click("#listen")
    assert len(heard) <= 2 * RATE
    np.testing.assert_array_equal(heard, late[-len(heard) :])


def test_a_restart_of_the_recorder_is_waited_for(owner: Page, recorder: RecorderProcess, noise: np.ndarray) -> None:
    owner.click("#listen")
    heard_seconds(owner, 1)
    recorder.end()
    source = f"recorder.source={recorder.data.parent / 'noise.wav'}"
    with running_recorder(recorder.data, source, "recorder.pace=real", "recorder.record_period=1"):
        before = len(heard_seconds(owner, 0))
        heard = heard_seconds(owner, before / RATE + 3)[-RATE:]
        assert find_samples(noise, heard) >= 0
    owner.close()
    wait_until(lambda: not decoders(), "the decoder ends with the last page")
