"""Which range is shown, what of it is listed, and what can be taken away from it."""

from __future__ import annotations

import csv
import io
import urllib.request
from pathlib import Path

import numpy as np
import soundfile
from playwright.sync_api import Browser, Page, expect

from edge.configuration.settings import Settings
from tests.integration.page.visits import MINUTE, heard, new_page, open_as_owner
from tests.support.nodes.page_node import MANY, YESTERDAY
from tests.support.nodes.query_node import QueryNode
from tests.support.spool.chunks import RATE, STREAM
from tests.support.wait import wait_until

# all that reaches the loudspeaker
PLAYED = """
window.played = [];
window.meters = []; // unreferenced, they would end
const connect = AudioNode.prototype.connect;
AudioNode.prototype.connect = function (target, ...places) {
  if (target instanceof AudioDestinationNode && !(this instanceof ScriptProcessorNode)) {
    const meter = this.context.createScriptProcessor(1024, 1, 1);
    meter.onaudioprocess = ({ inputBuffer }) => window.played.push(inputBuffer.getChannelData(0)[512]);
    window.meters.push(meter);
    connect.call(this, meter);
    connect.call(meter, target);
  }
  return connect.call(this, target, ...places);
};
"""


def test_yesterdays_loudest_minute_takes_two_clicks(page: Page, settings: Settings, node: QueryNode) -> None:
    open_as_owner(page, settings)
    page.click("#show-yesterday")
    page.click("#loudest-minutes")
    [sound] = heard(page)
    loudest, quieter = (node.audio[name] for name in sorted(node.audio, reverse=True) if name.split("-")[1] == "yest")
    np.testing.assert_array_equal(sound["samples"], soundfile.read(io.BytesIO(loudest), dtype="int16")[0])
    assert f"play={str(YESTERDAY)[:10]}T12%3A01%3A00.000Z" in page.url
    expect(page.locator("#sounds button").first).to_have_attribute("aria-current", "true")
    page.keyboard.press("n")
    expect(page.locator("#sounds button").nth(1)).to_have_attribute("aria-current", "true")
    second = heard(page, 2)[1]
    np.testing.assert_array_equal(second["samples"], soundfile.read(io.BytesIO(quieter), dtype="int16")[0])
    page.keyboard.press("p")
    expect(page.locator("#sounds button").first).to_have_attribute("aria-current", "true")


def test_a_selection_says_where_it_is_and_can_be_taken_away(browser: Browser, settings: Settings) -> None:
    selected = f"{MINUTE}&play=2026-03-03T22:00:01Z&until=2026-03-03T22:00:03Z"
    with new_page(browser, timezone_id="Europe/Berlin") as page:
        open_as_owner(page, settings, selected)
        page.select_option("#zone", "browser")
        expect(page.locator("#selection-title")).to_contain_text("23:00:01 – 23:00:03 (2 s)")
        page.click("#where summary")
        places = page.locator("#places")
        expect(places).to_contain_text(f"{STREAM}-000001")
        expect(places).to_contain_text(f"s3://{settings.s3.s3_bucket_name}/")
        expect(places.locator("dt", has_text="SHA-256")).to_have_count(2)

        page.click("#clip")
        expect(page.locator("#clip-facts")).to_contain_text(f"s3://{settings.s3.s3_bucket_name}/")
        expect(page.locator("#clip-facts")).to_contain_text("the link works until")
        with urllib.request.urlopen(page.input_value("#clip-link")) as response:  # noqa: S310 - of our own store
            clip, rate = soundfile.read(io.BytesIO(response.read()), dtype="int16")
        assert (rate, len(clip)) == (RATE, 2 * RATE)

        page.click("#as-table summary")
        expect(page.locator("#stretches tbody tr")).to_have_count(4)
        expect(page.locator("#stretches")).to_contain_text("before the first recording")
        levels = saved(page, "#levels-csv", "porch-levels-2026-03-03.csv")
        assert levels[0] == {
            "from": "2026-03-03T23:00:00.000+01:00", "to": "2026-03-03T23:00:01.000+01:00", "zone": "Europe/Berlin",
            "unit": "dBFS", "LAeq": "-40.5", "LAFmax": "-30.25", "L90": "-40.5",
        }  # fmt: skip
        assert len(levels) == 12
        sounds = saved(page, "#sounds-csv", "porch-sounds-2026-03-03.csv")
        assert [(sound["from"], sound["LAFmax"], sound["unit"]) for sound in sounds] == [
            ("2026-03-03T23:00:10.000+01:00", "-30", "dBFS"),
            ("2026-03-03T23:00:11.000+01:00", "-31", "dBFS"),
        ]


def saved(page: Page, button: str, name: str) -> list[dict[str, str]]:
    with page.expect_download() as downloading:
        page.click(button)
    assert downloading.value.suggested_filename == name
    return list(csv.DictReader(io.StringIO(Path(downloading.value.path()).read_text(encoding="utf-8"))))


def test_hours_that_clocks_repeat_or_skip_are_told_apart(browser: Browser, settings: Settings) -> None:
    autumn = "#from=2026-10-24T22:00:00Z&to=2026-10-25T23:00:00Z&play=2026-10-25T00:30:00Z&until=2026-10-25T01:30:00Z"
    with new_page(browser, timezone_id="Europe/Berlin") as page:
        page.goto(f"http://127.0.0.1:{settings.http.port}/{autumn}")
        expect(page.locator("#legend")).to_contain_text("not recorded")
        page.select_option("#zone", "browser")
        expect(page.locator("#selection-title")).to_contain_text("02:30:00 GMT+2 – 02:30:00 GMT+1 (1 h)")
        expect(page.locator("#range-title")).to_have_text("Sun, Oct 25, 2026")
        select_exactly(page, "2026-10-25T02:00:00", "2026-10-25T02:59:59")
        expect(page.locator("#selection-title")).to_contain_text("02:00:00 GMT+2 – 02:59:59 GMT+1 (1 h 59 min)")
        select_exactly(page, "2026-03-29T02:30:00", "2026-03-29T03:30:00")
        expect(page.locator("#exact-problem")).to_have_text("Clocks skip one of these times.")
        select_exactly(page, "2026-03-29T03:30:00", "2026-03-29T03:30:00")
        expect(page.locator("#exact-problem")).to_have_text("The end must be after the beginning.")
        day = page.locator("#calendar button[data-date='2026-10-25']")
        expect(day).to_have_attribute(
            "aria-label", "Sun, Oct 25, 2026, 0 s recorded, 1 gap, 0 sounds, this day has 25 hours"
        )
        page.click("#calendar button[data-date='2026-03-29']")
        expect(page.locator("#range-title")).to_have_text("Sun, Mar 29, 2026")
        expect(page.locator("#timeline")).to_have_attribute(
            "aria-label", "Timeline from Sun, Mar 29, 2026, 00:00:00 to Mon, Mar 30, 2026, 00:00:00. Arrow keys move,"
            " plus and minus zoom, Shift with arrow keys selects, Enter plays.",
        )  # fmt: skip
        page.wait_for_url("**/#from=2026-03-28T23%3A00%3A00.000Z&to=2026-03-29T22%3A00%3A00.000Z&**")


def select_exactly(page: Page, first: str, last: str) -> None:
    page.fill("#exact-from", first)
    page.fill("#exact-to", last)
    page.click("#exact-select")


def test_ten_years_a_time_before_all_sound_and_the_future_are_shown_at_once(page: Page, settings: Settings) -> None:
    open_as_owner(page, settings, "#from=2016-07-01T00:00:00Z&to=2026-07-01T00:00:00Z")
    expect(page.locator("#note")).to_have_text("The page shows at most a year at a time: the last one of that range.")
    expect(page.locator("#range-title")).to_contain_text("Mon, Jun 30, 2025, 00:00:00 – Wed, Jul 1, 2026")
    page.locator("#timeline").hover(position={"x": 820, "y": 10})  # in March
    expect(page.locator("#here")).to_contain_text("not recorded")
    for shown, state in (
        ("#from=1950-01-01T00:00:00Z&to=1950-01-02T00:00:00Z", "before the first recording"),
        ("#from=2990-01-01T00:00:00Z&to=2990-01-02T00:00:00Z", "still to come"),
        ("#from=-200000-01-01T00:00:00Z&to=2990-01-02T00:00:00Z", "still to come"),
    ):
        page.goto(f"http://127.0.0.1:{settings.http.port}/{shown}")
        expect(page.locator("#legend li")).to_have_text([state])
        expect(page.locator("#progress")).to_have_text("")
    expect(page.locator("#problem")).to_be_hidden()


def test_of_many_channels_one_is_chosen_or_a_mix_is_heard(browser: Browser, settings: Settings) -> None:
    second = "#from=2026-03-05T09:59:58Z&to=2026-03-05T10:00:05Z&play=2026-03-05T10:00:00Z&until=2026-03-05T10:00:01Z"
    with new_page(browser, expected="The ScriptProcessorNode is deprecated") as page:
        page.add_init_script(PLAYED)
        open_as_owner(page, settings, second)
        page.select_option("#speed", "0.1")  # it lasts while channels are chosen
        page.click("#play")
        [sound] = heard(page)
        assert [channel[0] for channel in sound["channels"]] == [1_000 * number for number in range(1, MANY + 1)]
        expect(page.locator("#channel option")).to_have_count(1 + MANY)
        wait_for_level(page, 4_500)  # the mean
        expect(page.locator("#sound canvas")).to_have_count(2 * MANY + 2)
        page.select_option("#channel", label="3")
        wait_for_level(page, 3_000)
        expect(page.locator("#sound canvas")).to_have_count(4)
        with page.expect_download() as downloading:
            page.click("#flac")
        assert soundfile.info(downloading.value.path()).channels == MANY


def wait_for_level(page: Page, value: int) -> None:
    """Until the loudspeaker gets that value, of a constant signal; what has ended meanwhile is played again."""
    page.evaluate("window.played.length = 0")

    def is_heard() -> bool:
        if page.locator("#play").inner_text() == "Play":
            page.click("#play")
        return bool(page.evaluate("value => window.played.some(sample => Math.abs(sample * 32768 - value) < 2)", value))

    wait_until(is_heard, f"{value} is heard")
