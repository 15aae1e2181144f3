"""The page for everybody: without a mouse, on a phone, in the dark, with a screen reader, on paper."""

from __future__ import annotations

from playwright.sync_api import Browser, expect

from edge.configuration.settings import Settings
from tests.integration.page.barriers import DESK, PHONE, TABLET, barriers
from tests.integration.page.visits import MINUTE, PASSWORD, address, heard, new_page, open_as_owner, tab_to

SELECTED = f"{MINUTE}&play=2026-03-03T22:00:01Z&until=2026-03-03T22:00:03Z"

DARKEST_OF_AXIS = """() => {
  const canvas = document.getElementById("timeline");
  const { data } = canvas.getContext("2d").getImageData(0, canvas.height - 20, canvas.width, 20);
  let darkest = 255;
  for (let at = 0; at < data.length; at += 4) if (data[at + 3] > 200) darkest = Math.min(darkest, data[at]);
  return darkest;
}"""


def test_no_state_of_the_page_keeps_anybody_out(browser: Browser, settings: Settings) -> None:
    # axe adds a style of its own, which the page's policy refuses
    with new_page(browser, bypass_csp=True, viewport=DESK) as page:
        page.goto(address(settings, MINUTE))
        expect(page.locator("#calendar button").first).to_be_visible()
        page.click("#log-in")
        expect(page.locator("#log-in-dialog")).to_be_visible()
        assert not (found := barriers(page, PHONE)), "\n".join(found)
        page.click("#log-in-cancel")
        page.goto("about:blank")

        open_as_owner(page, settings, SELECTED)
        page.click("#play")
        expect(page.locator("#sound canvas").first).to_be_visible()
        page.click("#where summary")
        expect(page.locator("#places dl").first).to_be_visible()
        page.click("#as-table summary")
        page.click("#clip")
        expect(page.locator("#clip-facts")).to_be_visible()
        assert not (found := barriers(page, PHONE, TABLET, DESK)), "\n".join(found)


def test_without_a_mouse_on_a_phone_yesterdays_loudest_minute_is_heard(browser: Browser, settings: Settings) -> None:
    with new_page(browser, viewport=PHONE, reduced_motion="reduce") as page:
        page.goto(address(settings, MINUTE))
        expect(page.locator("#legend")).to_contain_text("recorded")
        tab_to(page, page.locator("#log-in"))
        page.keyboard.press("Enter")
        page.keyboard.type(PASSWORD)
        page.keyboard.press("Enter")
        expect(page.locator("#role")).to_have_text("Logged in as owner")
        tab_to(page, page.locator("#show-yesterday"))
        page.keyboard.press("Enter")
        tab_to(page, page.locator("#loudest-minutes"))
        page.keyboard.press("Space")
        assert heard(page)[0]["samples"]
        expect(page.locator("#play")).to_have_text("Pause")


def test_a_day_can_be_printed_from_a_dark_screen(browser: Browser, settings: Settings) -> None:
    with new_page(browser, viewport=DESK, color_scheme="dark") as page:
        open_as_owner(page, settings, "#from=2026-03-03T00:00:00Z&to=2026-03-04T00:00:00Z")
        expect(page.locator("#sounds button")).to_have_count(2)
        page.click("#as-table summary")
        page.emulate_media(media="print", color_scheme="dark")
        for shown in ("#range-title", "#timeline", "#legend", "#sounds", "#stretches", "#status"):
            expect(page.locator(shown)).to_be_visible()
        for hidden in ("#zone", "#levels-csv", "#log-out", "#calendar", "#show-yesterday"):
            expect(page.locator(hidden)).to_be_hidden()
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert page.evaluate(DARKEST_OF_AXIS) < 100  # dark ink, where the screen has light letters
