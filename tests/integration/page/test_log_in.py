"""Logging in by a name that is not this machine's own: what the page says, and does, with TLS and without."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from playwright.sync_api import Browser, Page, expect

from edge.configuration.settings import Http, Secret, Settings
from edge.embedded import ports
from query_service.doors.sessions import password_hash
from tests.integration.page.visits import OTHER_NAME as NAME
from tests.support.messaging.odd_brokers import make_certificate
from tests.support.nodes.query_node import QueryNode, running_service
from tests.support.wait import DEADLINE, wait_until

PASSWORD = "correct horse"


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(ignore_https_errors=True)
    opened = context.new_page()
    opened.set_default_timeout(DEADLINE * 1000)
    yield opened
    context.close()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    http = Http(port=ports.choose(None), owner_password=Secret(password_hash(PASSWORD)))
    return replace(QueryNode(tmp_path, chunks=3).with_doors(), http=http)


def log_in(page: Page) -> None:
    page.fill("#password", PASSWORD)
    page.keyboard.press("Enter")
    expect(page.locator("#role")).to_have_text("Logged in as owner", timeout=DEADLINE * 1000)


def test_without_tls_the_log_in_says_that_the_password_is_not_protected(page: Page, settings: Settings) -> None:
    with running_service(settings):
        wait_until(lambda: ports.answers(settings.http.port), "the door is open")
        page.goto(f"http://{NAME}:{settings.http.port}/")
        expect(page.locator("#log-in-warning")).to_have_text(
            "This connection is not encrypted: the password crosses the network in clear text.",
            timeout=DEADLINE * 1000,
        )
        log_in(page)


def test_with_tls_the_whole_page_works_and_an_old_bookmark_leads_there(
    page: Page, settings: Settings, certificates: Path
) -> None:
    make_certificate(certificates, NAME, f"DNS:{NAME}")
    http = replace(settings.http, certificate=f"{certificates}/server.crt", key=f"{certificates}/server.key")
    with running_service(replace(settings, http=http)):
        wait_until(lambda: ports.answers(http.port), "the door is open")
        page.goto(f"http://{NAME}:{http.port}/")
        assert page.url.startswith(f"https://{NAME}:{http.port}/")
        expect(page.locator("#log-in-dialog")).to_be_visible(timeout=DEADLINE * 1000)
        expect(page.locator("#log-in-warning")).to_be_hidden()
        log_in(page)
        [cookie] = page.context.cookies()
        assert (cookie["secure"], cookie["httpOnly"], cookie["sameSite"]) == (True, True, "Strict")
