"""What the page says when something is missing or wrong, and that it goes on by itself."""

from __future__ import annotations

import io
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import soundfile
from msgspec.structs import replace
from playwright.sync_api import Browser, expect

from edge.configuration.settings import Http, Mqtt, Query, Secret, Settings
from edge.core import wire
from edge.core.instant import Instant
from edge.embedded import ports
from edge.messaging.events import LevelMeasured
from query_service import api
from query_service.doors.event_streams import MOST_STREAMS
from query_service.doors.sessions import password_hash
from tests.integration.page.barriers import PHONE, barriers
from tests.integration.page.visits import (
    KEY,
    MINUTE,
    PASSWORD,
    REFUSED,
    address,
    heard,
    new_page,
    open_as_owner,
    running_page,
)
from tests.support.browser_tabs import browser_tabs
from tests.support.messaging.broker import BrokerAddress
from tests.support.messaging.mqtt import connected
from tests.support.messaging.realtime import server_in_thread
from tests.support.nodes.query_node import QueryNode, running_service
from tests.support.store.fault_proxy import running_proxy
from tests.support.store.s3 import RunningStore
from tests.support.wait import DEADLINE, wait_until

NOW = Instant.parse("2026-03-03T22:00:00Z")
LEVEL = LevelMeasured(at=NOW, node="porch", laeq=-33.0, lafmax=-22.0, lcpeak=-12.0, unit="dBFS", calibrated=False)
RECIPIENT = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"


def settings_of(node: QueryNode, mqtt: Mqtt | None = None) -> Settings:
    http = Http(port=ports.choose(None), owner_password=Secret(password_hash(PASSWORD)))
    return replace(node.with_doors(mqtt=mqtt), http=http, query=Query(cursor_key=Secret(KEY)))


def test_a_node_without_anything_says_what_is_missing(browser: Browser, tmp_path: Path) -> None:
    made = settings_of(QueryNode(tmp_path, chunks=0))
    made = replace(made, recorder=replace(made.recorder, recipients=RECIPIENT))
    with running_page(made), new_page(browser) as page:
        page.goto(address(made))
        expect(page.locator("#status")).to_have_text("The recorder is not running")
        texts = ["No bucket is configured", "New sound is encrypted", "Nothing can be heard yet"]
        expect(page.locator("#setup li")).to_contain_text(texts)
        expect(page.locator("#no-sounds")).to_contain_text("[thresholds] sound_level = -40")
        page.click("#loudest-minutes")
        expect(page.locator("#no-sounds")).to_have_text("No levels in this range.")


def test_a_busy_and_a_stopped_node_are_waited_for(browser: Browser, tmp_path: Path) -> None:
    made = settings_of(QueryNode(tmp_path, chunks=3))
    with new_page(browser, expected=REFUSED) as page:
        with running_page(made):
            catalog = made.catalog.db_path
            aside = catalog.rename(catalog.with_suffix(".aside"))
            page.goto(address(made, "#from=2026-03-03T21:59:55Z&to=2026-03-03T22:00:20Z"))
            expect(page.locator("#busy")).to_have_text("The node is busy; trying again.")
            expect(page.locator("#facts")).to_contain_text("the catalog is being written or rebuilt")
            aside.rename(catalog)
            expect(page.locator("#legend")).to_contain_text("on the node only")
            expect(page.locator("#busy")).to_have_text("")
        expect(page.locator("#problem")).to_contain_text("The node does not answer")
        with running_page(made):
            expect(page.locator("#problem")).to_be_hidden()


def test_sound_waits_for_its_store_and_plays_by_itself_when_that_is_back(
    browser: Browser, tmp_path: Path, store: RunningStore
) -> None:
    node = QueryNode(tmp_path, chunks=6)
    _, second = (node.archive(store.settings, sorted(node.audio)[some]) for some in (slice(1), slice(1, 3)))
    with running_proxy(store.settings) as (proxy, s3):
        made = replace(settings_of(node), s3=s3)
        with running_page(made), new_page(browser, expected=REFUSED) as page:
            open_as_owner(page, made, f"{MINUTE}&play=2026-03-03T22:00:00Z&until=2026-03-03T22:00:06Z")
            proxy.choose = lambda request: "error" if second in request.path else None  # the sound begins to come
            page.select_option("#speed", "0.1")
            page.click("#play")
            expect(page.locator("#sound-problem")).to_contain_text("The sound broke off on its way.")
            proxy.fail_always("error", "GET")
            expect(page.locator("#sound-problem")).to_contain_text("The store with this sound does not answer.")
            proxy.fail_once("GET", "denied")  # as when a link has run out
            [sound] = heard(page)
            pieces = [soundfile.read(io.BytesIO(node.audio[name]), dtype="int16")[0] for name in sorted(node.audio)]
            np.testing.assert_array_equal(sound["samples"], np.concatenate(pieces))
            expect(page.locator("#sound-problem")).to_have_text("")
            assert "denied" in [fault for _, fault in proxy.seen]

            proxy.fail_always("error", "GET")  # what plays goes on
            page.select_option("#speed", "0.25")
            assert heard(page, 2)[1]["samples"] == sound["samples"]
            expect(page.locator("#play")).to_have_text("Pause")


def test_other_nodes_have_a_row_each(browser: Browser, tmp_path: Path) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(server_in_thread())
        shed = QueryNode(tmp_path / "shed", 3, "shed").with_doors(server)
        stack.enter_context(running_service(shed))
        with ThreadPoolExecutor(1) as pool:  # this thread has the browser's event loop
            pool.submit(api.query, shed, "ably", type="status").result()
        made = QueryNode(tmp_path / "porch", chunks=3).with_doors(server)
        made = replace(made, http=settings_of(QueryNode(tmp_path / "none", chunks=0)).http)
        stack.enter_context(running_page(made))
        page = stack.enter_context(new_page(browser, bypass_csp=True))  # of the style that axe adds
        page.goto(address(made))
        page.click("#nodes summary")
        rows = page.locator("#node-rows tbody tr")
        expect(rows).to_have_count(1)
        expect(rows.first).to_contain_text("shed")
        expect(rows.first).to_contain_text("3 chunks not uploaded yet")
        assert not (found := barriers(page, PHONE)), "\n".join(found)


@pytest.fixture
def live(tmp_path: Path, broker: BrokerAddress) -> Iterator[Settings]:
    made = settings_of(QueryNode(tmp_path, chunks=3), Mqtt(host=broker.host, port=broker.port))
    with running_page(made):
        yield made


def test_ten_tabs_share_the_last_free_stream_and_another_browser_polls_and_says_so(
    browser: Browser, live: Settings, broker: BrokerAddress
) -> None:
    with ExitStack() as stack:
        for _ in range(MOST_STREAMS - 1):
            assert stack.enter_context(event_stream(live)).recv(15) == b"HTTP/1.1 200 OK"
        with new_page(browser) as first, connected(broker.port) as client:
            tabs = [first, *(first.context.new_page() for _ in range(9))]
            for tab in tabs:
                tab.goto(address(live, "#from=2026-03-03T21:59:55Z&to=2026-03-03T22:00:20Z"))
            for tab in tabs:  # each of them asks: six streams would leave no connection
                expect(tab.locator("#legend")).to_contain_text("on the node only")
                expect(tab.locator("#live")).to_be_visible()
            client.publish("imhearing/porch/recorder/level", wire.encode(LEVEL))
            for tab in tabs:
                expect(tab.locator("#meter-text")).to_contain_text("-33.0")

            with new_page(browser, expected=REFUSED) as page:
                page.add_init_script("delete window.SharedWorker")  # as in browsers without it
                page.goto(address(live))
                expect(page.locator("#live-note")).to_contain_text("Too many pages are open for live events")
                expect(page.locator("#status")).to_have_text("The recorder is not running")
                expect(page.locator("#legend")).to_contain_text("not recorded")
        # a page that is left takes no stream any more
        wait_until(lambda: takes_a_stream(live), "the stream of the ten tabs has ended")


def test_a_hidden_tab_ends_its_stream_and_takes_it_up_when_it_is_shown_again(
    tmp_path: Path, live: Settings, broker: BrokerAddress
) -> None:
    with ExitStack() as stack:
        for _ in range(MOST_STREAMS - 1):
            assert stack.enter_context(event_stream(live)).recv(15) == b"HTTP/1.1 200 OK"
        tabs = stack.enter_context(browser_tabs(tmp_path / "profile"))
        client = stack.enter_context(connected(broker.port))
        page = tabs.open(address(live))

        def hears(laeq: float) -> bool:
            """Whether the page shows what happens; with each event, the node notices who has left."""
            client.publish("imhearing/porch/recorder/level", wire.encode(replace(LEVEL, laeq=laeq)))
            return f"{laeq}" in str(tabs.evaluate(page, "document.getElementById('meter-text').textContent"))

        wait_until(lambda: hears(-33.0), "the page hears of the level")
        assert not takes_a_stream(live)
        other = tabs.open("about:blank")
        wait_until(lambda: not hears(-44.0) and takes_a_stream(live), "the hidden tab has ended its stream")
        assert not [laeq for laeq in (-45.0, -46.0, -47.0) if hears(laeq)]
        tabs.show(page)
        wait_until(lambda: hears(-55.0), "the page hears of the level again")
        assert not takes_a_stream(live)
        tabs.show(other)
        wait_until(lambda: not hears(-66.0) and takes_a_stream(live), "the hidden tab has ended its stream")


def event_stream(settings: Settings) -> socket.socket:
    stream = socket.create_connection(("127.0.0.1", settings.http.port), timeout=DEADLINE)
    stream.sendall(f"GET /events HTTP/1.1\r\nHost: 127.0.0.1:{settings.http.port}\r\n\r\n".encode())
    return stream


def takes_a_stream(settings: Settings) -> bool:
    with event_stream(settings) as stream:
        return stream.recv(15) == b"HTTP/1.1 200 OK"
