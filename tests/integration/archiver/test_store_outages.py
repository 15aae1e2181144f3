"""The archiver's service while the store fails, refuses or never answers, and when it is killed."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

from msgspec.structs import replace

from edge.archiver import service
from edge.archiver.verify import verify
from edge.catalog import CatalogReader
from edge.catalog.erasures import Erasures
from edge.configuration.settings import Archive, Budget, Secret, Settings, Thresholds
from edge.core.instant import Instant
from edge.messaging.events import ArchiverState
from edge.spool.spool import Spool
from edge.store.s3 import S3Store
from tests.support.archiver.listener import EventListener
from tests.support.archiver.running import FAST, all_stored, archived, catalog_rows, fill, running_archiver, spooled
from tests.support.spool.chunks import RATE, START
from tests.support.store.fault_proxy import FAULTS, Fault, Request, running_proxy
from tests.support.store.s3 import RunningStore
from tests.support.wait import wait_until

_BEFORE_THE_STORE_TIMES_OUT = 30.0  # seconds; the store may take 60 for each answer


def test_uploads_wait_while_the_link_is_down_and_then_resume(
    settings: Settings, store: RunningStore, listener: EventListener
) -> None:
    files = fill(settings, 3)
    with running_proxy(store.settings) as (proxy, through), running_archiver(replace(settings, s3=through)):
        proxy.fail_always("reset_body")
        state = wait_until(
            lambda: [s for s in listener.events_of(ArchiverState) if s.reason], "the problem is published"
        )
        assert state[-1].state != "blocked"
        assert spooled(settings) == set(files)
        proxy.heal()
        wait_until(all_stored(settings, 3), "all is stored")
    assert archived(store) == files
    assert listener.archive_events("failed") == []


def test_a_store_that_needs_a_person_blocks_uploads_until_it_is_fixed(
    settings: Settings, store: RunningStore, listener: EventListener
) -> None:
    files = fill(settings, 3)
    with running_proxy(store.settings) as (proxy, through), running_archiver(replace(settings, s3=through)):
        proxy.fail_always("no_bucket", "PUT")
        blocked = wait_until(
            lambda: [s for s in listener.events_of(ArchiverState) if s.state == "blocked"], "it is published"
        )
        assert "there is no bucket" in (blocked[0].reason or "")
        proxy.heal()
        wait_until(all_stored(settings, 3), "all is stored")
        wait_until(lambda: listener.events_of(ArchiverState)[-1].state == "idle", "it is idle again")
    assert listener.events_of(ArchiverState)[-1].reason is None
    assert archived(store) == files
    assert listener.archive_events("failed")


def test_every_archive_arrives_once_at_a_store_that_fails_one_request_in_five(
    settings: Settings, store: RunningStore
) -> None:
    count = int(os.environ.get("IMHEARING_FAULTY_ARCHIVES", "12"))
    faults: tuple[Fault, ...] = (*FAULTS, "denied", "skewed", "no_bucket")
    dice = random.Random(11)
    files = fill(settings, count, frames=100)
    one_each = replace(settings, archive=Archive(archive_max_chunks=1), thresholds=Thresholds(records_count=1))
    with running_proxy(store.settings) as (proxy, through), running_archiver(replace(one_each, s3=through)):
        proxy.choose = lambda _: dice.choice(faults) if dice.random() < 0.2 else None
        wait_until(lambda: not spooled(settings), "all is stored", 20 + 3 * count)
    assert archived(store) == files
    assert len(list(store.folder.rglob("*.zip"))) == count
    assert sum(fault is not None for _, fault in proxy.seen) > count / 4
    assert S3Store(store.settings).open_uploads("imhearing/") == []


def test_exceeding_the_budget_blocks_uploads_and_keeps_the_chunks(settings: Settings, listener: EventListener) -> None:
    fill(settings, 3)
    tight = replace(settings, budget=Budget(price_per_gb=1e9, budget_cost=0.001))
    with running_archiver(tight):
        blocked = wait_until(
            lambda: [s for s in listener.events_of(ArchiverState) if s.state == "blocked"], "it is published"
        )
        assert "budget_cost" in (blocked[0].reason or "")
    assert len(spooled(settings)) == 3
    with running_archiver(settings):
        wait_until(all_stored(settings, 3), "all is stored")


def test_wrong_credentials_block_uploads_without_ending_the_archiver(
    settings: Settings, listener: EventListener
) -> None:
    fill(settings, 3)
    with running_archiver(replace(settings, s3=replace(settings.s3, secret_access_key=Secret("wrong")))):
        blocked = wait_until(
            lambda: [s for s in listener.events_of(ArchiverState) if s.state == "blocked"], "it is published"
        )
        assert "secret_access_key" in (blocked[0].reason or "")
    assert len(spooled(settings)) == 3


def test_plans_for_another_bucket_are_replaced_after_the_bucket_changes(
    settings: Settings, store: RunningStore
) -> None:
    files = fill(settings, 3)
    elsewhere = replace(settings, s3=replace(settings.s3, s3_bucket_name="elsewhere"))
    with running_archiver(elsewhere):
        wait_until(lambda: len(catalog_rows(settings)) == 3, "all is known")
    with running_archiver(settings):
        wait_until(all_stored(settings, 3), "all is stored")
    assert archived(store) == files


def test_the_archiver_stops_although_the_store_never_responds(settings: Settings, store: RunningStore) -> None:
    fill(settings, 3)
    with running_proxy(store.settings) as (proxy, through):
        proxy.fail_always("stall")
        stop = threading.Event()
        thread = threading.Thread(target=service.run, args=(replace(settings, s3=through), stop, FAST), daemon=True)
        thread.start()
        wait_until(lambda: proxy.seen, "it asks the store")
        stop.set()
        thread.join(_BEFORE_THE_STORE_TIMES_OUT)
        assert not thread.is_alive()


_PROCESS = """
import logging, sys, threading
from pathlib import Path
import msgspec
from edge.core import wire
from edge.archiver import service
from edge.archiver.pacing import Pacing
from edge.store.s3 import S3Store
from edge.configuration.loader import load
logging.basicConfig(level=logging.WARNING)
settings = load(Path(sys.argv[1]))
pace = Pacing(rescan=0.3, first_retry=0.05, longest_link_retry=0.2, longest_retry=0.2, blocked_retry=0.2)
service.run(settings, threading.Event(), pace)
"""


@contextlib.contextmanager
def archiver_process(settings: Settings, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    from edge.configuration.loader import to_ini  # noqa: PLC0415

    config = folder / "config.ini"
    config.write_text(to_ini(settings, "of a test"))
    config.chmod(0o600)
    process = subprocess.Popen([sys.executable, "-c", _PROCESS, str(folder)])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_an_archiver_killed_repeatedly_loses_and_duplicates_nothing(
    settings: Settings, store: RunningStore, tmp_path: Path
) -> None:
    """Kills on the way at moments that follow from what it has reached, and lets the last one finish."""
    settings = replace(settings, archive=Archive(archive_max_chunks=2))
    files = fill(settings, 12, frames=4 * RATE)
    with running_proxy(store.settings) as (proxy, through):
        settings = replace(settings, s3=through)
        for moment in range(8):
            proxy.seen.clear()
            with archiver_process(settings, tmp_path) as process:
                wait_until(
                    lambda wanted=moment: (
                        len(proxy.seen) > wanted // 2 or process.poll() is not None or not spooled(settings)
                    ),  # type: ignore[misc]
                    "it has asked the store",
                )
                process.send_signal(signal.SIGKILL)
                process.wait()
            stored = (
                {name for name, row in catalog_rows(settings).items() if row.where}
                if settings.catalog.db_path.exists()
                else set()
            )
            assert stored <= _archived_if_complete(store).keys()
            assert files.keys() <= spooled(settings) | stored
        with archiver_process(settings, tmp_path):
            wait_until(all_stored(settings, 12), "all is stored")
    assert archived(store) == files
    assert catalog_rows(settings).keys() == files.keys()


def _archived_if_complete(store: RunningStore) -> dict[str, bytes]:
    try:
        return archived(store)
    except zipfile.BadZipFile:  # being written this moment by the store
        return wait_until(lambda: archived(store), "the store has finished")


def test_an_archive_whose_response_was_lost_is_not_orphaned_by_a_member_that_becomes_unreadable(
    settings: Settings, store: RunningStore
) -> None:
    files = fill(settings, 3)
    member = settings.recorder.record_path / f"{sorted(files)[1]}.flac"
    with running_proxy(store.settings) as (proxy, through), running_archiver(replace(settings, s3=through)):

        def choose(request: Request) -> Fault | None:
            if request.name == "PUT":
                return "reply_lost"
            if request.name == "HEAD" and list(store.folder.rglob("*.zip")):
                member.write_bytes(b"")
            return "slow_down" if request.name == "GET" else None

        proxy.choose = choose
        wait_until(lambda: proxy.names().count("GET") > 8 or len(list(store.folder.rglob("*.zip"))) > 1, "two attempts")
        proxy.heal()
        wait_until(all_stored(settings, 3), "all is stored")
        assert archived(store) == files
        assert _differences(settings) == []
        orders = Erasures(settings.catalog.db_path)
        order = orders.give(START, Instant(START + 3_000_000), START)
        wait_until(lambda: orders.result(order.id), "all is erased")
    assert archived(store) == {}
    assert _differences(settings) == []


def _differences(settings: Settings) -> list[str]:
    """What `imhearing catalog verify` prints."""
    spool = Spool(settings.recorder.record_path, settings.node.name)
    with contextlib.closing(CatalogReader(settings.catalog.db_path)) as catalog:
        return list(verify(S3Store(settings.s3), settings.s3.prefix, spool, catalog, deep=True))
