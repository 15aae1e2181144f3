"""The page in a real Chromium, by real clicks and keys."""

from __future__ import annotations

import io
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
import soundfile
from playwright.sync_api import Page, expect

from edge.configuration.settings import Settings
from edge.core.instant import Instant
from tests.integration.page.visits import MINUTE, PASSWORD, address, heard, open_as_owner
from tests.support.nodes.query_node import QueryNode
from tests.support.spool.chunks import RATE, START, STREAM


def test_a_dragged_selection_is_heard_sample_for_sample(page: Page, settings: Settings, node: QueryNode) -> None:
    open_as_owner(page, settings)
    box = page.locator("#timeline").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 400, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 600, box["y"] + 100, steps=5)
    page.mouse.up()
    page.click("#play")
    [sound] = heard(page)
    assert sound["rate"] == RATE
    expect(page.locator("#play")).to_have_text("Pause")
    expect(page.locator("#sound canvas").first).to_be_visible()
    expected = samples_between(node, page.url)
    np.testing.assert_array_equal(sound["samples"], expected)


def test_the_loudest_sound_is_one_click_away_and_keys_lead_to_the_others(page: Page, settings: Settings) -> None:
    open_as_owner(page, settings)
    sounds = page.locator("#sounds button")
    expect(sounds.first).to_be_visible()
    sounds.first.click()
    heard(page, 1)
    page.keyboard.press("n")
    heard(page, 2)
    expect(sounds.nth(1)).to_have_attribute("aria-current", "true")


def test_a_day_of_the_calendar_is_one_click_away(page: Page, settings: Settings) -> None:
    open_as_owner(page, settings)
    day = page.locator("#calendar button[data-date='2026-03-03']")
    expect(day).to_have_attribute("aria-label", "Tue, Mar 3, 2026, 12 s recorded, 2 gaps, 2 sounds")
    expect(day).to_have_class("gaps with-sounds")
    day.click()
    expect(page.locator("#range-title")).to_have_text("Tue, Mar 3, 2026")


def test_by_keyboard_alone_a_stretch_is_selected_and_heard(page: Page, settings: Settings) -> None:
    open_as_owner(page, settings)
    page.locator("#timeline").focus()
    for _ in range(8):
        page.keyboard.press("Shift+ArrowRight")
    expect(page.locator("#selection")).to_be_visible()
    page.keyboard.press("Enter")
    assert heard(page)[0]["samples"]


def test_slower_is_the_same_samples_at_a_tenth_of_their_rate(page: Page, settings: Settings) -> None:
    open_as_owner(page, settings, f"{MINUTE}&play=2026-03-03T22:00:01Z&until=2026-03-03T22:00:03Z")
    page.select_option("#speed", "0.1")
    page.click("#play")
    [sound] = heard(page)
    assert (sound["rate"], len(sound["samples"])) == (RATE, 2 * RATE)
    assert sound["speed"] == pytest.approx(0.1)


def test_a_gap_is_silent_so_that_time_stays_right(page: Page, settings: Settings, node: QueryNode) -> None:
    open_as_owner(page, settings, f"{MINUTE}&play=2026-03-03T21:59:58Z&until=2026-03-03T22:00:01Z")
    page.click("#play")
    [sound] = heard(page)
    np.testing.assert_array_equal(sound["samples"][: 2 * RATE], 0)
    np.testing.assert_array_equal(sound["samples"][2 * RATE :], samples(node)[:RATE])
    expect(page.locator("#sound .hole")).to_have_count(1)


def test_without_a_session_numbers_are_shown_and_sound_needs_a_log_in(page: Page, settings: Settings) -> None:
    page.goto(address(settings, f"{MINUTE}&play=2026-03-03T22:00:01Z&until=2026-03-03T22:00:03Z"))
    expect(page.locator("#legend")).to_contain_text("recorded")
    expect(page.locator("#sound-problem")).to_have_text("Log in as the owner to hear this.")
    expect(page.locator("#flac")).to_be_hidden()
    page.click("#log-in")
    page.fill("#password", PASSWORD)
    page.keyboard.press("Enter")
    expect(page.locator("#role")).to_have_text("Logged in as owner")
    page.click("#play")
    assert len(heard(page)[0]["samples"]) == 2 * RATE
    with page.expect_download() as downloading:
        page.click("#flac")
    assert downloading.value.suggested_filename == "porch-2026-03-03T220001.000000Z.flac"
    page.click("#log-out")
    expect(page.locator("#log-in")).to_be_visible()


def test_what_is_shown_can_be_shared_by_its_address(page: Page, settings: Settings) -> None:
    open_as_owner(page, settings)
    page.locator("#timeline").focus()
    page.keyboard.press("+")
    expect(page.locator("#range-title")).not_to_contain_text("21:59:55")
    page.wait_for_function("() => !location.hash.includes('21%3A59%3A55')")
    shared, title = page.url, page.locator("#range-title").inner_text()
    page.goto("about:blank")
    page.goto(shared)
    expect(page.locator("#range-title")).to_have_text(title)


def samples(node: QueryNode) -> np.ndarray:
    """Everything that was recorded, from 22:00:00 on."""
    parts = [
        soundfile.read(io.BytesIO(node.audio[name]), dtype="int16")[0]
        for name in sorted(node.audio)
        if name.startswith(STREAM)
    ]
    return np.concatenate(parts)


def samples_between(node: QueryNode, url: str) -> np.ndarray:
    """The samples of the selection that the address names."""
    named = parse_qs(urlsplit(url).fragment)
    first, end = (-(-(Instant.parse(named[name][0]) - START) * RATE // 1_000_000) for name in ("play", "until"))
    return samples(node)[first:end]
