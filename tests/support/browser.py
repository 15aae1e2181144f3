"""Debian's Chromium, driven by Playwright; and what tests and benches observe in the page."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence

from playwright.sync_api import Browser, sync_playwright


@contextlib.contextmanager
def running_browser(environment: dict[str, str] | None = None, *, is_heard: bool = False) -> Iterator[Browser]:
    """Without a window, and unless it `is_heard`, without a loudspeaker."""
    program = shutil.which("chromium")
    assert program, "scripts/setup --dev installs chromium"
    rights: Sequence[str] = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        env: dict[str, str | float | bool] = {**os.environ, **(environment or {})}
        browser = playwright.chromium.launch(
            executable_path=program, args=rights, env=env, ignore_default_args=["--mute-audio"] if is_heard else None
        )
        try:
            yield browser
        finally:
            browser.close()
