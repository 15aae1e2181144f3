"""A node whose page is open in a real Chromium. The journeys only look and listen, so they share the node."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from msgspec.structs import replace
from playwright.sync_api import Browser, Page, Playwright, sync_playwright

from edge.configuration.settings import Http, Query, Secret, Settings
from edge.embedded import ports
from query_service.doors.sessions import password_hash
from tests.integration.page.visits import KEY, OTHER_NAME, PASSWORD, new_page, running_page
from tests.support.browser import running_browser
from tests.support.nodes.eventful_node import EventfulNode
from tests.support.nodes.page_node import make_page_node
from tests.support.nodes.query_node import QueryNode
from tests.support.store.s3 import RunningStore, running_store


@pytest.fixture(scope="package")  # while it is there, this thread has a running event loop
def driver() -> Iterator[Playwright]:
    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="package")
def browser(driver: Playwright) -> Iterator[Browser]:
    """One for all tests: each opens pages in a context of its own. It finds this machine as OTHER_NAME as well."""
    with running_browser(driver, f"--host-resolver-rules=MAP {OTHER_NAME} 127.0.0.1") as opened:
        yield opened


@pytest.fixture(scope="package")
def page_store() -> Iterator[RunningStore]:
    with running_store() as running:
        yield running


@pytest.fixture(scope="package")
def node(tmp_path_factory: pytest.TempPathFactory, page_store: RunningStore) -> EventfulNode:
    return make_page_node(tmp_path_factory.mktemp("node"), page_store.settings)


@pytest.fixture(scope="package")
def settings(node: QueryNode, page_store: RunningStore) -> Iterator[Settings]:
    """Of a running query service."""
    http = Http(port=ports.choose(None), owner_password=Secret(password_hash(PASSWORD)))
    made = replace(node.with_doors(s3=page_store.settings), http=http, query=Query(cursor_key=Secret(KEY)))
    with running_page(made):
        yield made


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page whose console must stay empty of errors and warnings."""
    with new_page(browser) as opened:
        yield opened
