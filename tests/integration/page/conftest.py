"""A node whose page is open in a real Chromium. The journeys only look and listen, so they share the node."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from msgspec.structs import replace
from playwright.sync_api import Browser, Page, sync_playwright

from edge.configuration.settings import Http, Query, Secret, Settings
from edge.embedded import ports
from query_service.doors.sessions import password_hash
from tests.integration.page.visits import KEY, PASSWORD, new_page, running_page
from tests.support.nodes.page_node import make_page_node
from tests.support.nodes.query_node import QueryNode
from tests.support.store.s3 import RunningStore


@pytest.fixture(scope="module")  # while it is there, this thread has a running event loop
def browser() -> Iterator[Browser]:
    program = shutil.which("chromium")
    assert program, "scripts/setup --dev installs chromium"
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"] if os.geteuid() == 0 else [])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, store: RunningStore) -> QueryNode:
    return make_page_node(tmp_path_factory.mktemp("node"), store.settings)


@pytest.fixture(scope="module")
def settings(node: QueryNode, store: RunningStore) -> Iterator[Settings]:
    """Of a running query service."""
    http = Http(port=ports.choose(None), owner_password=Secret(password_hash(PASSWORD)))
    made = replace(node.with_doors(s3=store.settings), http=http, query=Query(cursor_key=Secret(KEY)))
    with running_page(made):
        yield made


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page whose console must stay empty of errors and warnings."""
    with new_page(browser) as opened:
        yield opened
