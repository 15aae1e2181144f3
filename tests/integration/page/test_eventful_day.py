"""A day on which everything happened: each state is shown as what it was, and heard as what there is."""

from __future__ import annotations

import numpy as np
from playwright.sync_api import Browser, Page, expect

from edge.configuration.settings import Settings
from tests.integration.page.visits import REFUSED, heard, new_page, open_as_owner
from tests.support.nodes.eventful_node import EventfulNode
from tests.support.spool.chunks import RATE

MINUTE = "#from=2026-03-04T11:59:50Z&to=2026-03-04T12:01:10Z"
STRETCHES = [
    ("11:59:50", "10 s", "not recorded (the cause is unknown)"),
    ("12:00:00", "2 s", "recorded"),  # by a clock that said 11:00
    ("12:00:02", "2 s", "on the node only"),
    ("12:00:04", "2 s", "not recorded (the computer was too busy)"),
    ("12:00:06", "2 s", "recorded"),
    ("12:00:08", "2 s", "paused"),
    ("12:00:10", "4 s", "recorded"),
    ("12:00:14", "2 s", "no longer kept (older than [archive] keep_remote)"),
    ("12:00:16", "1 s", "not recorded (a program crashed)"),
    ("12:00:17", "2 s", "on the node only"),
    ("12:00:19", "41 s", "not recorded (the power failed)"),
    ("12:01:00", "1 s", "recorded"),
    ("12:01:01", "1 s", "on the node only"),
    ("12:01:02", "8 s", "not recorded (the cause is unknown)"),
]


def test_a_day_names_each_state_and_cause_and_plays_across_them_with_silence_for_what_is_missing(
    page: Page, settings: Settings, node: EventfulNode
) -> None:
    open_as_owner(page, settings, "#from=2026-03-05T00:00:00Z&to=2026-03-06T00:00:00Z")
    day = page.locator("#calendar button[data-date='2026-03-04']")
    expect(day).to_have_attribute("aria-label", "Wed, Mar 4, 2026, 14 s recorded, 5 gaps, 0 sounds")
    day.click()
    expect(page.locator("#legend li")).to_contain_text(
        ["not recorded", "recorded", "on the node only", "paused", "no longer kept"]
    )
    page.goto(page.url.split("#")[0] + f"{MINUTE}&play=2026-03-04T12:00:00Z&until=2026-03-04T12:00:19Z")
    page.click("#as-table summary")
    rows = page.locator("#stretches tbody tr")
    expect(rows).to_have_text([f"Wed, Mar 4, 2026, {at}{length}{state}" for at, length, state in STRETCHES])

    page.click("#play")
    [sound] = heard(page)
    assert sound["rate"] == RATE
    np.testing.assert_array_equal(sound["samples"], node.heard(0, 19))
    expect(page.locator("#sound .hole")).to_have_count(4)
    expect(page.locator("#play")).to_have_text("Pause")


def test_encrypted_sound_is_not_played_but_the_command_that_opens_it_is_named(
    browser: Browser, settings: Settings
) -> None:
    with new_page(browser, expected=REFUSED) as page:
        open_as_owner(page, settings, f"{MINUTE}&play=2026-03-04T12:01:00Z&until=2026-03-04T12:01:02Z")
        for button in ("#play", "#clip"):
            page.click(button)
            expect(page.locator("#sound-problem")).to_contain_text("`imhearing fetch --identity` opens it with yours")
        expect(page.locator("#command")).to_have_value(
            "imhearing fetch --from 2026-03-04T12:01:00.000000Z --to 2026-03-04T12:01:02.000000Z"
            " --identity key.txt -o sound.flac"
        )
