"""The page for everybody: without a mouse, on a phone, in the dark, with a screen reader, on paper."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, expect

from edge.configuration.settings import Settings
from tests.integration.page.visits import MINUTE, PASSWORD, address, heard, new_page, open_as_owner

pytestmark = pytest.mark.xdist_group("page")
PHONE, DESK = {"width": 375, "height": 740}, {"width": 1280, "height": 900}
SELECTED = f"{MINUTE}&play=2026-03-03T22:00:01Z&until=2026-03-03T22:00:03Z"

DARKEST_OF_AXIS = """() => {
  const canvas = document.getElementById("timeline");
  const { data } = canvas.getContext("2d").getImageData(0, canvas.height - 20, canvas.width, 20);
  let darkest = 255;
  for (let at = 0; at < data.length; at += 4) if (data[at + 3] > 200) darkest = Math.min(darkest, data[at]);
  return darkest;
}"""

TOO_WIDE = """() => [...document.querySelectorAll("body *:not(#calendar, input)")]
  .filter((each) => each.clientWidth && each.scrollWidth > each.clientWidth + 1).map((each) => each.id).join(" ")"""


def barriers(page: Page) -> list[str]:
    """What keeps people out, on each size of screen, in light and dark, in the words of axe-core."""
    found = []
    for size in (PHONE, DESK):
        page.set_viewport_size({"width": size["width"], "height": size["height"]})
        page.emulate_media(color_scheme="light")
        found += violations(page, f"{size['width']} px")
        page.emulate_media(color_scheme="dark")
        found += violations(page, f"{size['width']} px, dark", {"runOnly": ["color-contrast"]})
        if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            found.append(f"{size['width']} px: scrolls sideways, because of {page.evaluate(TOO_WIDE)}")
    return found


def violations(page: Page, look: str, options: dict[str, list[str]] | None = None) -> list[str]:
    found = Axe().run(page, options=options).response["violations"]
    return [f"{look}: {each['id']}: {each['help']}: {each['nodes'][0]['target']}" for each in found]


def test_no_state_of_the_page_keeps_anybody_out(browser: Browser, settings: Settings) -> None:
    # axe adds a style of its own, which the page's policy refuses
    with new_page(browser, bypass_csp=True, viewport=DESK) as page:
        page.goto(address(settings, MINUTE))
        expect(page.locator("#calendar button").first).to_be_visible()
        page.click("#log-in")
        expect(page.locator("#log-in-dialog")).to_be_visible()
        assert not (found := barriers(page)), "\n".join(found)
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
        assert not (found := barriers(page)), "\n".join(found)


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


def tab_to(page: Page, wanted: Locator) -> None:
    for _ in range(60):
        if wanted.evaluate("element => element === document.activeElement"):
            return
        page.keyboard.press("Tab")
    pytest.fail("the Tab key does not lead there")


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
