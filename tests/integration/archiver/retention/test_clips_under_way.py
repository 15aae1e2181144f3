"""A clip that is being made while `forget` runs is not in the store afterwards. No broker runs."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from msgspec.structs import replace

from edge.catalog.erasures import Erasures
from edge.catalog.range_locks import copying, is_copied
from edge.configuration.settings import Settings
from edge.core.errors import CatalogBusy
from edge.core.instant import Instant
from query_service import api
from query_service.answer.node_answers import NodeAnswers
from query_service.queries.clip import ClipAnswer
from query_service.queries.protocol import Answer, GoodAnswer, Request
from query_service.queries.values import ErrorAnswer
from tests.support.archiver.running import erase, fill, running_archiver, wait_stored
from tests.support.spool.chunks import SECOND, START, at
from tests.support.store.fault_proxy import Request as StoreRequest
from tests.support.store.fault_proxy import running_proxy
from tests.support.store.s3 import RunningStore
from tests.support.wait import DEADLINE, wait_until


def _clip(settings: Settings, start: float, end: float) -> GoodAnswer:
    return api.query(settings, "local", type="clip", start=at(start), end=at(end), timeout=DEADLINE)


async def _ask_once(settings: Settings, start: float, end: float) -> Answer:
    """Where the node is busy, `_clip` repeats the question until its deadline."""
    door = NodeAnswers(settings)
    try:
        return await door.query(Request(id="0123456789abcdef", type="clip", from_=at(start), to=at(end)))
    finally:
        await door.close()


def _stored_clips(store: RunningStore) -> list[str]:
    return [path.name for path in store.folder.rglob("clips/*")]


def test_forget_waits_for_a_clip_that_is_being_stored_and_deletes_it(
    settings: Settings, store: RunningStore, caplog: pytest.LogCaptureFixture
) -> None:
    fill(settings, 3)
    with running_archiver(settings):
        wait_stored(settings, 3)
    arrived, released = threading.Event(), threading.Event()

    def hold_back(request: StoreRequest) -> None:
        if request.method == "PUT" and "/clips/" in request.path:
            arrived.set()
            released.wait(DEADLINE)

    orders = Erasures(settings.catalog.db_path)
    with running_proxy(settings.s3) as (proxy, through), ThreadPoolExecutor(1) as thread:
        proxy.choose = hold_back
        making = thread.submit(_clip, replace(settings, s3=through), 1.25, 1.75)
        assert arrived.wait(DEADLINE)
        with running_archiver(settings):
            order = orders.give(at(1), at(2), START)
            wait_until(lambda: orders.result(order.id) or "a clip of its range" in caplog.text, "it gets that far")
            released.set()
            wait_until(lambda: orders.result(order.id), "the order is carried out")
        assert isinstance(making.result(DEADLINE), ClipAnswer)
    assert _stored_clips(store) == []


def test_a_clip_of_a_range_that_is_to_be_erased_is_refused_as_busy(settings: Settings, store: RunningStore) -> None:
    fill(settings, 3)
    with running_archiver(settings):
        wait_stored(settings, 3)
    Erasures(settings.catalog.db_path).give(at(1), at(2), START)
    refused = asyncio.run(_ask_once(settings, 1.5, 2.5))
    assert isinstance(refused, ErrorAnswer)
    assert refused.error.code == "busy"
    assert _stored_clips(store) == []
    assert isinstance(_clip(settings, 0, 1), ClipAnswer)  # another range
    with running_archiver(settings):
        erase(settings, 1, 2)
    assert isinstance(_clip(settings, 0, 1), ClipAnswer)


def _range(start: int, end: int) -> tuple[Instant, Instant]:
    return at(start), at(end)


def test_only_a_range_that_overlaps_is_in_use_and_only_as_long_as_it_is_copied(tmp_path: Path) -> None:
    catalog = tmp_path / "catalog.db"
    assert not is_copied(catalog, *_range(0, 9))
    with copying(catalog, *_range(2, 4)), copying(catalog, *_range(3, 5)):
        for start, end, is_used in ((0, 2, False), (1, 3, True), (4, 9, True), (5, 9, False), (0, 9, True)):
            assert is_copied(catalog, *_range(start, end)) == is_used
    assert not is_copied(catalog, *_range(0, 9))


def test_a_range_is_no_longer_in_use_once_its_process_was_killed(tmp_path: Path) -> None:
    catalog = tmp_path / "catalog.db"
    is_copied(catalog, *_range(0, 1))
    code = (
        "import sys; from pathlib import Path; from edge.core.instant import Instant\n"
        "from edge.catalog.range_locks import copying\n"
        f"with copying(Path(sys.argv[1]), Instant({int(START)}), Instant({START + SECOND})):\n"
        "    print(flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(catalog)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdout.readline()
    assert is_copied(catalog, *_range(0, 1))
    process.kill()
    process.wait(DEADLINE)
    assert not is_copied(catalog, *_range(0, 1))
    process.stdin.close()
    process.stdout.close()


def test_nothing_is_copied_before_there_is_a_catalog(tmp_path: Path) -> None:
    with pytest.raises(CatalogBusy), copying(tmp_path / "catalog.db", *_range(0, 1)):
        pass
