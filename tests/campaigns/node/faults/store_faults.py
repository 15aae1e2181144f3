"""The store as the node sees it: a proxy that makes a share of the requests fail, or late, while a fault lasts."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from typing import cast

from edge.configuration.settings import S3
from tests.support.store.fault_proxy import Fault, Request, running_proxy

_SLOW_SECONDS = 1.5


class StoreFaults:
    """One fault at a time; `url` is what the node is configured with."""

    def __init__(self, upstream: str) -> None:
        self._stack = contextlib.ExitStack()
        self._proxy, settings = self._stack.enter_context(running_proxy(S3(endpoint_url=upstream)))
        self.url = settings.endpoint_url
        self._in_use = threading.Lock()

    def disturb(self, fault: str, share: float, seconds: float, seed: int) -> int:
        """How many requests were disturbed; 0 if another fault is active."""
        if not self._in_use.acquire(blocking=False):
            return 0
        dice, disturbed, end = random.Random(seed), 0, time.monotonic() + seconds

        def choose(_: Request) -> Fault | None:
            nonlocal disturbed
            if dice.random() >= share:
                return None
            disturbed += 1
            if fault == "slow":
                time.sleep(_SLOW_SECONDS)  # all requests wait for each other, as on a slow link
                return None
            return cast("Fault", fault)

        try:
            self._proxy.choose = choose
            while time.monotonic() < end:
                time.sleep(0.05)
            return disturbed
        finally:
            self._proxy.heal()
            self._in_use.release()

    def close(self) -> None:
        self._stack.close()
