"""A store that a person must act on: the archiver says why and what to do, and goes on by itself once it is done."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from edge.archiver import service
from edge.archiver.rebuild import rebuild_in_place
from edge.catalog import CatalogReader
from edge.configuration.loader import load
from edge.configuration.settings import S3, Archive, Secret, Settings
from edge.core.instant import FIRST, LAST, Instant
from edge.messaging.bus import Bus
from edge.messaging.events import ArchiverState, Event
from edge.spool.spool import Spool
from edge.store.s3 import S3Store
from tests.support.archiver.running import FAST
from tests.support.messaging.secure_broker import set_up
from tests.support.spool.chunks import RATE, audio_bytes, fill_spool
from tests.support.store.fault_proxy import running_proxy
from tests.support.store.faults import (
    FAULTS,
    CorruptsOneInTen,
    RegionKeeper,
    StoreFault,
    wants_virtual_hosts,
    without,
)
from tests.support.store.s3 import RunningStore, running_store
from tests.support.wait import DEADLINE, wait_until

CHUNKS = 3


class Archiver:
    """An archiver with `CHUNKS` chunks to upload, started with `settings`; `settings` are then what it finds when it
    reads them again."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.states: list[ArchiverState] = []

    def change(self, *changes: str) -> None:
        """As `imhearing configure` does."""
        changed = with_changes(self.settings.s3, self.settings.catalog.db_path.parent, changes)
        self.settings = replace(self.settings, s3=changed)

    def wait_blocked(self) -> str:
        """The reason."""
        blocked = wait_until(lambda: [s for s in self.states if s.state == "blocked"], "uploading is blocked")
        return blocked[-1].reason or ""

    def wait_stored(self) -> None:
        folder = self.settings.recorder.record_path
        wait_until(lambda: not list(folder.glob("*.flac")), "every chunk has left the spool")
        reader = CatalogReader(self.settings.catalog.db_path)
        rows = list(reader.chunks_between(FIRST, LAST, 100))
        reader.close()
        assert len(rows) == CHUNKS
        assert all(row.where for row in rows)
        wait_until(lambda: self.states[-1].state == "idle" and self.states[-1].reason is None, "nothing is the matter")

    def take(self, event: Event, _retained: bool) -> None:
        if isinstance(event, ArchiverState):
            self.states.append(event)


def with_changes(s3: S3, folder: Path, changes: tuple[str, ...]) -> S3:
    """`changes` alone, read as settings are, on top of `s3`."""
    loaded = load(folder, Path("/dev/null"), changes, {}).s3
    keys = [change.partition("=")[0].removeprefix("s3.") for change in changes]
    return replace(s3, **{key: getattr(loaded, key) for key in keys})


@contextlib.contextmanager
def running(settings: Settings) -> Iterator[Archiver]:
    archiver, stop = Archiver(settings), threading.Event()
    fill_spool(settings.recorder.record_path, CHUNKS, node=settings.node.name, frames=RATE)
    bus = Bus(settings.mqtt, settings.node.name, "control")
    bus.subscribe_all(archiver.take)
    bus.start()
    assert bus.wait_connected(DEADLINE)
    arguments = (settings, stop, FAST, lambda: archiver.settings)
    thread = threading.Thread(target=service.run, args=arguments, daemon=True)
    thread.start()
    try:
        yield archiver
    finally:
        stop.set()
        thread.join(DEADLINE)
        bus.stop()
        assert not thread.is_alive()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_uploads_go_on_without_a_restart_once_the_fault_is_fixed(
    settings: Settings, store: RunningStore, tmp_path: Path, fault: StoreFault
) -> None:
    with running_proxy(store.settings) as (proxy, through):
        proxy.choose = fault.answer
        s3 = with_changes(through, tmp_path, fault.settings)
        with running(replace(settings, s3=s3)) as archiver:
            assert fault.words in archiver.wait_blocked()
            if fault.changes:
                archiver.change(*fault.changes)
            else:
                proxy.heal()
            archiver.wait_stored()


def test_chunks_stay_while_the_store_has_other_bytes_than_it_confirmed(settings: Settings, store: RunningStore) -> None:
    with running_proxy(store.settings) as (proxy, through):
        proxy.choose = CorruptsOneInTen("PUT", 0)
        with running(replace(settings, s3=through)) as archiver:
            assert "different bytes from those it confirmed" in archiver.wait_blocked()
            assert len(list(settings.recorder.record_path.glob("*.flac"))) == CHUNKS
            storage = S3Store(through)
            [key] = [key for key, _ in storage.keys("imhearing/") if key.endswith(".zip")]
            storage.delete(key)
            archiver.wait_stored()


def test_a_rebuilt_catalog_does_not_take_the_word_of_a_store_that_has_other_bytes(
    settings: Settings, store: RunningStore
) -> None:
    with running_proxy(store.settings) as (proxy, through):
        proxy.choose = CorruptsOneInTen("PUT", 0)
        blocked = replace(settings, s3=through)
        with running(blocked) as archiver:
            archiver.wait_blocked()
        before = len(proxy.seen)
        spool = Spool(settings.recorder.record_path, settings.node.name)
        rebuild_in_place(S3Store(store.settings), settings.s3.prefix, spool, settings.catalog.db_path, Instant(9))
        with running(blocked) as archiver:
            wait_until(lambda: "corrupted" in [fault for _, fault in proxy.seen[before:]], "it is read back")
            assert "different bytes from those it confirmed" in archiver.wait_blocked()
            assert len(list(settings.recorder.record_path.glob("*.flac"))) == CHUNKS


@pytest.mark.parametrize("missing", ["If-None-Match", "ListMultipartUploads"])
def test_a_store_without_an_optional_operation_needs_nobodys_help(
    settings: Settings, store: RunningStore, missing: str
) -> None:
    with running_proxy(store.settings) as (proxy, through):
        proxy.choose = without(missing)
        with running(replace(settings, s3=through)) as archiver:
            archiver.wait_stored()
            assert [s for s in archiver.states if s.state == "blocked"] == []


def test_settings_that_are_being_edited_are_waited_for(settings: Settings, store: RunningStore) -> None:
    with running(replace(settings, s3=replace(store.settings, s3_bucket_name=""))) as archiver:
        assert "no bucket is named" in archiver.wait_blocked()
        archiver.change(f"s3.s3_bucket_name={store.settings.s3_bucket_name}")
        archiver.wait_stored()


@pytest.mark.parametrize("where", ["field", "message"])
def test_the_region_that_the_store_names_is_used(
    settings: Settings, store: RunningStore, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    with running_proxy(store.settings) as (proxy, through):
        proxy.choose = RegionKeeper("eu-central-1", where)
        with running(replace(settings, s3=through)) as archiver:
            archiver.wait_stored()
            assert [s for s in archiver.states if s.state == "blocked"] == []
    said = [message for message in caplog.messages if "set [s3] s3_region" in message]
    assert len(said) == 1
    assert "the bucket is in region eu-central-1" in said[0]


def test_a_region_that_nobody_names_must_be_set(settings: Settings, store: RunningStore) -> None:
    with running_proxy(store.settings) as (proxy, through):
        proxy.choose = RegionKeeper("eu-central-1", "nowhere")
        with running(replace(settings, s3=through)) as archiver:
            assert "the bucket is in another region; set [s3] s3_region" in archiver.wait_blocked()
            archiver.change("s3.s3_region=eu-central-1")
            archiver.wait_stored()


def test_a_private_ca_is_named_and_its_certificate_may_be_repaired(
    settings: Settings, store: RunningStore, tmp_path: Path
) -> None:
    keys = tmp_path / "keys"
    keys.mkdir()
    set_up(keys, "porch")
    ca_file = tmp_path / "ca.crt"
    with running_proxy(store.settings, keys) as (_, through), running(replace(settings, s3=through)) as archiver:
        assert "its certificate is from an unknown CA; set [s3] ca_file" in archiver.wait_blocked()
        archiver.change(f"s3.ca_file={ca_file}")
        wait_until(lambda: "ca.crt: cannot be used" in archiver.wait_blocked(), "its absence is reported")
        ca_file.write_bytes((keys / "ca.crt").read_bytes())
        archiver.wait_stored()


def test_rotated_credentials_are_read_again(
    settings: Settings, store: RunningStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "credentials"
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    key, secret = store.settings.access_key_id.reveal(), store.settings.secret_access_key.reveal()
    found_elsewhere = replace(store.settings, access_key_id=Secret(), secret_access_key=Secret())
    with running(replace(settings, s3=found_elsewhere)) as archiver:
        assert "set [s3] access_key_id" in archiver.wait_blocked()
        file.write_text(f"[default]\naws_access_key_id = {key}\naws_secret_access_key = old\n")
        wait_until(lambda: "does not match the key" in archiver.wait_blocked(), "the old secret is refused")
        file.write_text(f"[default]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n")
        archiver.wait_stored()


def test_a_store_that_wants_the_bucket_in_the_host_name(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, local_hosts: set[str]
) -> None:
    monkeypatch.setenv("RCLONE_FORCE_PATH_STYLE", "false")
    local_hosts |= {"store.test", "imhearing.store.test"}
    with running_store() as store, running_proxy(store.settings) as (proxy, through):
        proxy.choose = wants_virtual_hosts
        named = replace(through, endpoint_url=through.endpoint_url.replace("127.0.0.1", "store.test"))
        with running(replace(settings, s3=named)) as archiver:
            assert "set [s3] addressing = virtual" in archiver.wait_blocked()
            archiver.change("s3.addressing=virtual")
            archiver.wait_stored()


def test_a_small_archive_takes_the_time_that_max_rate_gives_it(settings: Settings) -> None:
    size = sum(len(audio_bytes(number)) for number in range(CHUNKS))
    rate = size / 3 / 1e6  # MB a second: three seconds, of which the first passes at once
    started = time.monotonic()
    with running(replace(settings, archive=Archive(max_rate=rate))) as archiver:
        archiver.wait_stored()
    assert time.monotonic() - started > 2
