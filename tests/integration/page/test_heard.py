"""What is heard of the page: the buffers that it hands to its player, and what leaves Chromium, at the sink."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import urlencode

import numpy as np
import pytest
import soundfile
from msgspec.structs import replace
from playwright.sync_api import Browser, Page, Playwright, expect

from edge.catalog import Catalog
from edge.configuration.settings import Http, Query, Secret, Settings
from edge.core.instant import Instant
from edge.embedded import ports
from query_service.page.codes import make_code
from tests.support.browser import OBSERVED, heard, running_browser
from tests.support.nodes.query_node import QueryNode, running_service
from tests.support.recording.microphone import VirtualMicrophone
from tests.support.spool.chunks import SECOND, START, STREAM, at, make_chunk, make_stream, put_chunk
from tests.support.store.s3 import RunningStore
from tests.support.wait import DEADLINE, wait_until

KEY = "the key of the node"
RATE = 48_000
SECONDS = 4
SELECTED = (0.5, 3.5)  # seconds after START
BATS = "20260303T221000Z-bats"
BAT_RATE = 384_000
BAT_TONE = 60_000  # Hz
BATS_BEGAN = at(600)
SMOOTH = 12  # samples of white noise in each
PART = RATE // 10  # of a recording, to be found in its source
TRIES = 5  # on a busy machine, the sound begins with a stutter
NEAR = 0.05  # seconds between the cursor and the sound


class Garden(NamedTuple):
    settings: Settings
    noise: np.ndarray  # (frames, 2), 24 bit in the upper bits of 32; from START on

    def url(self, **shown: Instant) -> str:
        texts = {name: str(moment) for name, moment in shown.items()}
        return (
            f"http://127.0.0.1:{self.settings.http.port}/#{urlencode({**texts, 'code': make_code(KEY, time.time())})}"
        )


@pytest.fixture(scope="module")
def garden(tmp_path_factory: pytest.TempPathFactory, store: RunningStore) -> Iterator[Garden]:
    """Four seconds of stereo noise, half of it in the store; ten minutes later, one second of a bat."""
    node = QueryNode(tmp_path_factory.mktemp("garden"), chunks=0)
    noise = np.random.default_rng(11).uniform(-1, 1, (SECONDS * RATE + SMOOTH - 1, 2))
    # of low frequencies, so that it is found between samples as well
    smooth = np.apply_along_axis(np.convolve, 0, noise, np.ones(SMOOTH) / SMOOTH, "valid")
    samples = (smooth * 2**31).astype(np.int32) >> 8 << 8
    tone = np.sin(2 * np.pi * BAT_TONE * np.arange(BAT_RATE) / BAT_RATE)
    bats = (tone[:, None] * 2**28).astype(np.int32) >> 8 << 8
    parts = [(STREAM, START, seq, RATE, samples[seq * RATE : (seq + 1) * RATE]) for seq in range(SECONDS)]
    names = [put(node, *part) for part in (*parts, (BATS, BATS_BEGAN, 0, BAT_RATE, bats))]
    with contextlib.closing(Catalog(node.settings.catalog.db_path)) as catalog:
        catalog.open()
        for stream_id in (STREAM, BATS):
            catalog.registration.put_stream(node.spool.streams.read(stream_id))
    node.archive(store.settings, names[: SECONDS // 2])
    settings = replace(
        node.with_doors(s3=store.settings), http=Http(port=ports.choose(None)), query=Query(cursor_key=Secret(KEY))
    )
    with running_service(settings):
        yield Garden(settings, samples)


def put(node: QueryNode, stream_id: str, began: Instant, seq: int, rate: int, samples: np.ndarray) -> str:
    """One second of a stream as a chunk of the spool."""
    frames, channels = samples.shape
    stream = make_stream(stream_id, rate=rate, channels=channels, bits=24, chunk_frames=rate, knots=((0, began),))
    node.spool.streams.write(stream)
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="FLAC", subtype="PCM_24")
    chunk = make_chunk(seq, file.getvalue(), stream_id=stream_id, start=began)
    chunk = replace(chunk, rate=rate, channels=channels, frames=frames, first_frame=seq * frames)
    put_chunk(node.spool, chunk, file.getvalue())
    return chunk.chunk_id


@pytest.fixture(scope="module")
def browser(driver: Playwright, room: VirtualMicrophone, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """It is heard at the null sink."""
    program = tmp_path_factory.mktemp("bin") / "chromium"
    # as on a desktop, where rtkit sees to it: sound comes before other work, so that it does not stutter
    program.write_text('#!/bin/sh\n(echo -20 > /proc/self/autogroup) 2> /dev/null\nexec chromium "$@"\n')
    program.chmod(0o755)
    sink = {**room.environment, "PULSE_SINK": "room"}
    with running_browser(driver, environment=sink, is_heard=True, program=str(program)) as opened:
        yield opened


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    said: list[str] = []
    context = browser.new_context(viewport={"width": 1200, "height": 900}, timezone_id="UTC")
    opened = context.new_page()
    opened.set_default_timeout(DEADLINE * 1000)
    opened.add_init_script(OBSERVED)
    opened.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    opened.on("pageerror", lambda problem: said.append(str(problem)))
    yield opened
    context.close()
    assert said == []


class Recording:
    """What comes out of the null sink, mono, and when each of its samples was heard."""

    def __init__(self, room: VirtualMicrophone) -> None:
        command = ["parec", "--device=room.monitor", f"--rate={RATE}", "--channels=1", "--format=float32le"]
        self._process = subprocess.Popen(
            [*command, "--latency-msec=10"], env=os.environ | room.environment, stdout=subprocess.PIPE
        )
        self._pieces: list[bytes] = []
        self._began = float("inf")  # the clock at the first sample, in seconds since 1970
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        size = 0
        while piece := os.read(self._process.stdout.fileno(), 65_536):
            now = time.time()
            size += len(piece)
            self._pieces.append(piece)
            # a piece may be read late, and never before it was heard: the earliest counts
            self._began = min(self._began, now - size / 4 / RATE)

    def last(self, count: int) -> np.ndarray:
        """As many of the latest samples, zeros before the first."""
        ends = b"".join(self._pieces[-100:])
        return np.frombuffer(bytes(4 * count) + ends[: len(ends) // 4 * 4], dtype="<f4")[-count:]

    def stop(self) -> tuple[np.ndarray, float]:
        """All samples, and the clock at the first one."""
        self._process.terminate()
        self._process.wait(DEADLINE)
        self._thread.join(DEADLINE)
        whole = b"".join(self._pieces)
        return np.frombuffer(whole[: len(whole) // 4 * 4], dtype="<f4"), self._began


def place_of(part: np.ndarray, source: np.ndarray) -> int | None:
    """Where in the source that part of a recording is, by correlation; None unless it clearly is somewhere."""
    if np.count_nonzero(part) < 0.9 * PART:
        return None
    size = len(source) + PART
    found = np.fft.irfft(np.fft.rfft(source, size) * np.conj(np.fft.rfft(part, size)), size)[: len(source) - PART]
    place = int(np.argmax(found))
    alike = found[place] / (np.linalg.norm(source[place : place + PART]) * np.linalg.norm(part))
    return place if alike > 0.9 else None


def test_the_sound_of_store_and_spool_is_heard_to_the_sample_with_its_cursor(
    page: Page, garden: Garden, room: VirtualMicrophone
) -> None:
    first, last = SELECTED
    page.goto(garden.url(**{"from": at(-2), "to": at(8), "play": at(first), "until": at(last)}))
    expect(page.locator("#legend")).to_contain_text("recorded")
    expected = garden.noise[round(first * RATE) : round(last * RATE)]
    errors: list[float] = []
    for _ in range(TRIES):
        recording = Recording(room)
        page.evaluate("window.cursor = []")
        page.click("#play")
        sound = heard(page)
        assert sound.rate == RATE
        np.testing.assert_array_equal(sound.samples * 2.0**31, expected)
        expect(page.locator("#play")).to_have_text("Play")  # it has ended
        errors = cursor_errors(page, recording, first, expected.mean(axis=1))
        if len(errors) > 20 and abs(float(np.percentile(errors, 10))) < NEAR:
            return
    pytest.fail(f"the cursor was off by {np.round(errors, 3)} s")


def cursor_errors(page: Page, recording: Recording, first: float, source: np.ndarray) -> list[float]:
    """How far the cursor was ahead of what was heard at that moment, in seconds. `first`: when the source begins, after
    22:00:00. Where a busy machine drops sound, the cursor goes on: the first ones tell."""
    samples, began = recording.stop()
    errors = []
    for clock, text in page.evaluate("window.cursor"):
        frame = round((clock / 1000 - began) * RATE)
        place = place_of(samples[frame : frame + PART], source) if frame > 0 else None
        if place is not None:
            errors.append(seconds_of(text) - first - place / RATE)
    return errors


def seconds_of(text: str) -> float:
    """Of a time of day that the page shows, since 22:00:00."""
    hours, minutes, seconds = text.split(":")
    return (int(hours) - 22) * 3_600 + int(minutes) * 60 + float(seconds)


def test_a_bat_stands_at_its_frequency_and_is_heard_ten_times_slower(
    page: Page, garden: Garden, room: VirtualMicrophone
) -> None:
    end = Instant(BATS_BEGAN + SECOND)
    page.goto(garden.url(**{"from": at(595), "to": at(605), "play": BATS_BEGAN, "until": end}))
    expect(page.locator("#legend")).to_contain_text("recorded")
    page.select_option("#speed", "0.1")
    recording = Recording(room)
    page.click("#play")
    sound = heard(page)
    assert (sound.rate, len(sound.samples)) == (BAT_RATE, BAT_RATE)
    assert sound.speed == pytest.approx(0.1)
    half = RATE // 2
    # a quarter of the samples of a tone of 6 kHz may be zero
    wait_until(lambda: np.count_nonzero(recording.last(half)) > 0.6 * half, "half a second of it is recorded")
    samples, _ = recording.stop()
    assert loudest_frequency(samples[-half:]) == pytest.approx(BAT_TONE / 10, abs=20)
    expect(page.locator("#sound canvas").nth(1)).to_be_visible()
    assert brightest_frequency(page) == pytest.approx(BAT_TONE, abs=BAT_RATE / 2 / 160 * 2)


def loudest_frequency(samples: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum)) * RATE / len(samples)


def brightest_frequency(page: Page) -> float:
    """Of the spectrogram on the screen, which reaches up to half the rate: the wider of two high canvases."""
    share: float = page.locator("#sound canvas").evaluate_all(
        """(canvases) => {
          const [canvas] = canvases.filter((each) => each.height > 100).sort((one, other) => other.width - one.width);
          const { width, height } = canvas;
          const { data } = canvas.getContext("2d").getImageData(Math.floor(width / 2), 0, 1, height);
          const brightness = Array.from({ length: height }, (_, y) => data[4 * y] + data[4 * y + 1] + data[4 * y + 2]);
          return 1 - (brightness.indexOf(Math.max(...brightness)) + 0.5) / height;
        }"""
    )
    return share * BAT_RATE / 2
