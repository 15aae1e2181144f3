"""Tabs of one Chromium window: all but the one in front are hidden. Playwright's pages are never hidden."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from websockets.sync.client import connect

from tests.support.wait import DEADLINE, wait_until


class BrowserTabs:
    """Speaks the DevTools protocol on `port`."""

    def __init__(self, port: str) -> None:
        self._address = f"http://127.0.0.1:{port}/json"

    def open(self, url: str) -> str:
        """A new tab, in front of the others; gives its ID."""
        tab: str = self._call(f"/new?{url}", "PUT")["id"]
        self.show(tab)
        return tab

    def show(self, tab: str) -> None:
        """Brings the tab to the front; the others are hidden then."""

        def is_in_front() -> bool:
            with urllib.request.urlopen(f"{self._address}/activate/{tab}", timeout=DEADLINE):  # noqa: S310
                pass
            pages = {each["id"] for each in self._call("/list") if each["type"] == "page"}
            return {each for each in pages if self.evaluate(each, "document.visibilityState") == "visible"} == {tab}

        wait_until(is_in_front, "the tab is in front")

    def evaluate(self, tab: str, expression: str) -> Any:
        [found] = [each for each in self._call("/list") if each["id"] == tab]
        with connect(found["webSocketDebuggerUrl"], open_timeout=DEADLINE, compression=None) as session:
            session.send(json.dumps({"id": 1, "method": "Runtime.evaluate", "params": {"expression": expression}}))
            return json.loads(session.recv(DEADLINE))["result"]["result"].get("value")

    def _call(self, path: str, method: str = "GET") -> Any:
        request = urllib.request.Request(f"{self._address}{path}", method=method)  # noqa: S310
        with urllib.request.urlopen(request, timeout=DEADLINE) as response:  # noqa: S310
            return json.load(response)


@contextlib.contextmanager
def browser_tabs(folder: Path) -> Iterator[BrowserTabs]:
    """A Chromium without a window on a screen; `folder` is for its profile."""
    rights = ["--no-sandbox"] if os.geteuid() == 0 else []
    command = ["chromium", "--headless=new", *rights, "--no-first-run", f"--user-data-dir={folder}"]
    process = subprocess.Popen([*command, "--remote-debugging-port=0", "about:blank"], stderr=subprocess.DEVNULL)
    port = folder / "DevToolsActivePort"
    try:
        wait_until(lambda: port.exists() and port.read_text().count("\n"), "Chromium listens")
        yield BrowserTabs(port.read_text().split("\n")[0])
    finally:
        process.terminate()
        process.wait(DEADLINE)
