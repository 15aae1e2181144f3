"""What keeps people out of a page, in the words of axe-core."""

from __future__ import annotations

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, ViewportSize

PHONE: ViewportSize = {"width": 375, "height": 740}
TABLET: ViewportSize = {"width": 768, "height": 1024}
DESK: ViewportSize = {"width": 1280, "height": 900}

TOO_WIDE = """() => [...document.querySelectorAll("body *:not(#calendar, input)")]
  .filter((each) => each.clientWidth && each.scrollWidth > each.clientWidth + 1).map((each) => each.id).join(" ")"""


def barriers(page: Page, *sizes: ViewportSize) -> list[str]:
    """On each of these sizes of screen, and, as colours are the same on all, in the dark on the last one."""
    found = []
    for size in sizes:
        page.set_viewport_size(size)
        page.emulate_media(color_scheme="light")
        found += _violations(page, f"{size['width']} px")
        if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            found.append(f"{size['width']} px: scrolls sideways, because of {page.evaluate(TOO_WIDE)}")
    page.emulate_media(color_scheme="dark")
    found += _violations(page, "dark", {"runOnly": ["color-contrast"]})
    page.emulate_media(color_scheme="light")
    return found


def _violations(page: Page, look: str, options: dict[str, list[str]] | None = None) -> list[str]:
    found = Axe().run(page, options=options).response["violations"]
    return [f"{look}: {each['id']}: {each['help']}: {each['nodes'][0]['target']}" for each in found]
