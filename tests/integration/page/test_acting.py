"""What the owner orders on the page, by real clicks and keys, with recorder, archiver and broker behind it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from functools import partial

import pytest
from msgspec.structs import replace
from playwright.sync_api import Browser, Page, expect

from edge.catalog.holds import Hold, Holds, change_holds, read_holds
from edge.core.instant import Instant
from edge.embedded import ports
from edge.messaging.owner_proof import make_proof, signing_key
from query_service.page.codes import make_code
from tests.integration.page.barriers import PHONE, barriers
from tests.integration.page.visits import new_page, tab_to
from tests.support.nodes.acting_node import HTTP, KEY, OWNER_KEY, PASSWORDS, ActingNode, acting_node
from tests.support.store.s3 import RunningStore
from tests.support.wait import DEADLINE, wait_until

LAST_NIGHT = "#from=2026-03-03T21:50:00Z&to=2026-03-03T22:10:00Z"
TEN_MINUTES = Hold(Instant.parse("2026-03-03T22:00:00Z"), Instant.parse("2026-03-03T22:10:00Z"))
SECOND = 1_000_000


@pytest.fixture(scope="module")
def one_node(tmp_path_factory: pytest.TempPathFactory, store: RunningStore) -> Iterator[ActingNode]:
    folder = tmp_path_factory.mktemp("node")
    with acting_node(folder, store.settings, replace(HTTP, port=ports.choose(None))) as made:
        wait_until(lambda: ports.answers(made.settings.http.port), "the door is open")
        yield made


@pytest.fixture
def node(one_node: ActingNode) -> Iterator[ActingNode]:
    """It records, and nothing is kept for ever."""
    one_node.wait_for_state("recording")
    yield one_node
    for hold in held(one_node):
        change_holds(one_node.settings.catalog.db_path, partial(Holds.released, start=hold.from_, end=hold.to))


@pytest.fixture
def said() -> list[str]:
    """Errors and warnings of the page's console; a test takes out what it expects."""
    return []


@pytest.fixture
def page(browser: Browser, node: ActingNode, said: list[str]) -> Iterator[Page]:
    """A page whose console must stay empty."""
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    opened = context.new_page()
    opened.set_default_timeout(DEADLINE * 1000)
    opened.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    opened.on("pageerror", lambda problem: said.append(str(problem)))
    yield opened
    context.close()
    assert said == []


def open_as_owner(page: Page, node: ActingNode, fragment: str) -> None:
    """By a link such as `imhearing page link` prints."""
    now = time.time()
    code = make_code(KEY, now, make_proof(signing_key(OWNER_KEY), now))
    page.goto(f"http://127.0.0.1:{node.settings.http.port}/{fragment}&code={code}")
    expect(page.locator("#role")).to_have_text("Logged in as owner")
    expect(page.locator("#legend")).to_contain_text("recorded")
    expect(page.locator("#pause")).to_be_visible()


def held(node: ActingNode) -> list[Hold]:
    return list(read_holds(node.settings.catalog.db_path).holds)


def select_with_mouse(page: Page, first: float, last: float) -> None:
    """A part of the timeline, from 0 at its left end to 1 at its right end."""
    box = page.locator("#timeline").bounding_box()
    assert box is not None
    left, width = box["x"] + 46, box["width"] - 54  # beside the axis
    page.mouse.move(left + first * width, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(left + last * width, box["y"] + 100, steps=5)
    page.mouse.up()


def test_last_night_is_kept_for_ever_by_mouse_and_released(page: Page, node: ActingNode) -> None:
    open_as_owner(page, node, LAST_NIGHT)
    select_with_mouse(page, 0.5, 1.0)
    page.click("#keep")
    expect(page.locator("#action-result")).to_contain_text("Kept for ever: Tue, Mar 3, 2026, 22:00:0")
    [hold] = held(node)
    # as exact as a pixel
    assert abs(hold.from_ - TEN_MINUTES.from_) < 2 * SECOND
    assert abs(hold.to - TEN_MINUTES.to) < 2 * SECOND
    page.click("#dismiss")
    expect(page.locator("#dismiss")).to_be_hidden()
    item = page.locator("#holds li")
    expect(item).to_have_count(1)
    item.get_by_role("button", name=re.compile("^Release")).click()
    expect(page.locator("#kept")).to_be_hidden()
    assert held(node) == []


def test_on_a_phone_by_keyboard_last_night_is_kept_by_its_exact_times_and_dialogs_keep_nobody_out(
    browser: Browser, node: ActingNode
) -> None:
    # axe adds a style of its own, which the page's policy refuses
    with new_page(browser, bypass_csp=True, viewport=PHONE, reduced_motion="reduce") as page:
        open_as_owner(page, node, LAST_NIGHT)
        tab_to(page, page.locator("#exact-from"))
        for key in (*["ArrowRight"] * 3, "1", "0", "0", "0"):  # past the date
            page.keyboard.press(key)
        expect(page.locator("#exact-from")).to_have_value("2026-03-03T22:00")
        page.keyboard.press("Enter")
        expect(page.locator("#selection-title")).to_contain_text("22:00:00 – 22:10:00 (10 min)")
        tab_to(page, page.locator("#keep"))
        page.keyboard.press("Enter")
        expect(page.locator("#action-result")).to_contain_text("Kept for ever")
        assert held(node) == [TEN_MINUTES]

        for name in ("forget", "pause"):
            tab_to(page, page.locator(f"#{name}"))
            page.keyboard.press("Enter")
            expect(page.locator(f"#{name}-dialog")).to_be_visible()
            assert not (found := barriers(page, PHONE)), "\n".join(found)
            page.keyboard.press("Escape")
            expect(page.locator(f"#{name}-dialog")).to_be_hidden()


def test_what_is_kept_is_found_again_and_cannot_be_forgotten(page: Page, node: ActingNode, said: list[str]) -> None:
    open_as_owner(page, node, f"{LAST_NIGHT}&play=2026-03-03T22:00:01Z&until=2026-03-03T22:00:03Z")
    page.click("#keep")
    expect(page.locator("#holds li")).to_have_count(1)
    page.keyboard.press("Escape")
    page.locator("#holds button").first.click()
    expect(page.locator("#selection-title")).to_contain_text("22:00:01 – 22:00:03 (2 s)")
    page.click("#forget")
    page.fill("#confirmation", "forget")
    page.click("#forget-now")
    expect(page.locator("#action-result")).to_contain_text("nothing is erased: a part of the range is on hold")
    assert said == ["Failed to load resource: the server responded with a status of 409 (Conflict)"]
    said.clear()


def test_forgetting_needs_a_typed_word_and_ends_with_the_bucket_searched(
    page: Page, node: ActingNode, store: RunningStore
) -> None:
    open_as_owner(page, node, f"{LAST_NIGHT}&play=2026-03-03T22:00:02Z&until=2026-03-03T22:00:04Z")
    page.click("#forget")
    expect(page.locator("#forget-what")).to_contain_text("22:00:02 – 22:00:04")
    expect(page.locator("#forget-now")).to_be_disabled()
    page.fill("#confirmation", "yes")
    page.keyboard.press("Enter")
    expect(page.locator("#forget-dialog")).to_be_visible()
    expect(page.locator("#forget-now")).to_be_disabled()
    page.fill("#confirmation", "forget")
    page.keyboard.press("Enter")
    expect(page.locator("#forget-dialog")).to_be_hidden()
    expect(page.locator("#action-result")).to_have_text(
        "Forgotten: 2 chunks. The bucket was searched: nothing is left.", timeout=DEADLINE * 1000
    )
    third = node.sound.audio[sorted(node.sound.audio)[2]]
    assert not any(third in path.read_bytes() for path in store.folder.rglob("*.zip"))
    expect(page.locator("#legend")).to_contain_text("no longer kept")


def test_recording_pauses_until_a_chosen_time_and_resumes(page: Page, node: ActingNode) -> None:
    open_as_owner(page, node, LAST_NIGHT)
    page.click("#rotate")
    expect(page.locator("#action-result")).to_have_text("A new chunk has begun.")
    page.click("#archive")
    expect(page.locator("#action-result")).to_have_text("Everything finished is being archived.")
    page.click("#pause")
    page.select_option("#pause-length", label=page.locator("#pause-length option").nth(1).inner_text())
    page.click("#pause-now")
    expect(page.locator("#status")).to_have_text(re.compile("^Paused since .* until "))
    node.wait_for_state("paused")
    expect(page.locator("#pause")).to_be_hidden()
    page.click("#resume")
    expect(page.locator("#action-result")).to_have_text("Recording goes on.")
    expect(page.locator("#status")).to_contain_text("Recording since")
    node.wait_for_state("recording")


def test_a_viewer_sees_no_buttons(page: Page, node: ActingNode) -> None:
    page.goto(
        f"http://127.0.0.1:{node.settings.http.port}/{LAST_NIGHT}&play=2026-03-03T22:00:02Z&until=2026-03-03T22:00:04Z"
    )
    expect(page.locator("#legend")).to_contain_text("recorded")
    for role in ("nobody", "viewer"):
        if role == "viewer":
            page.click("#log-in")
            page.fill("#password", PASSWORDS["viewer"])
            page.keyboard.press("Enter")
            expect(page.locator("#role")).to_have_text("Logged in as viewer")
        expect(page.locator("#selection")).to_be_visible()
        for name in ("#actions", "#keeping", "#kept", "#notice"):
            expect(page.locator(name)).to_be_hidden()
