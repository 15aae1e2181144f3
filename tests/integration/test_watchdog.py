"""Services that work send keep-alives to systemd; those that hang do not, and lose no finished chunk."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from edge.archiver import service as archiver_service
from edge.archiver.pacing import Pacing
from edge.catalog import Catalog
from edge.configuration import settings as sections
from edge.configuration.settings import Settings
from edge.core.systemd import Heartbeat
from edge.core.values import PauseOrder
from edge.recorder.capture.blocks import Block, SoundSource, SourceFormat
from edge.recorder.recorder import Recorder
from query_service import service as query_service
from query_service.realtime.link import Link
from tests.support.messaging.realtime import server_in_thread
from tests.support.nodes.fake_systemd import FakeSystemd, fake_systemd
from tests.support.nodes.query_node import QueryNode, running_service
from tests.support.recording.microphone import virtual_microphone, write_noise
from tests.support.recording.recorder_process import running_recorder
from tests.support.recording.rig import LOST, RATE, Rig, ScriptedStop
from tests.support.spool.chunks import fill_spool
from tests.support.store.fault_proxy import running_proxy
from tests.support.store.s3 import running_store
from tests.support.wait import DEADLINE, wait_until

FAST = Pacing(rescan=0.3, report=0.1, first_retry=0.05, longest_link_retry=0.2, blocked_retry=0.2, stuck=1.0)


@pytest.fixture
def watcher(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSystemd]:
    """Watches services in this process."""
    with fake_systemd() as made:
        for name, value in made.environ.items():
            monkeypatch.setenv(name, value)
        yield made


def stays_alive(watcher: FakeSystemd, terms: float = 3) -> bool:
    """Whether no watchdog bites for that many of its terms."""
    end = time.monotonic() + terms * watcher.seconds
    while time.monotonic() < end:
        if watcher.would_kill():
            return False
        threading.Event().wait(0.05)
    return True


# the recorder


class DeafSource:
    """A microphone that delivers `blocks` and then neither sound nor an error."""

    def __init__(self, rig: Rig, stop: threading.Event, blocks: int, looks: int) -> None:
        self._rig, self._stop = rig, stop
        self._blocks, self._looks = blocks, looks

    def open(self) -> SourceFormat:
        return SourceFormat("deaf", RATE, 1, 16)

    def read(self, timeout: float) -> Block | None:
        if self._blocks:
            self._blocks -= 1
            block = Block(np.zeros((400, 1), np.int16), self._rig.clock.monotonic())
            self._rig.clock.advance(400 / RATE)
            return block
        self._looks -= 1
        if not self._looks:
            self._stop.set()
        return None

    def close(self) -> None:
        """Nothing to let go of."""


class CountedHeartbeat(Heartbeat):
    def __init__(self) -> None:
        super().__init__({})
        self.beats = 0
        self.statuses: list[str] = []

    def beat(self) -> None:
        self.beats += 1

    def status(self, text: str) -> None:
        self.statuses.append(text)


def run_recorder(rig: Rig, source: SoundSource, stop: threading.Event) -> CountedHeartbeat:
    heartbeat = CountedHeartbeat()
    Recorder(rig.settings, rig.spool, lambda: source, rig.clock, rig.facts, stop, heartbeat).run()
    return heartbeat


def test_a_recorder_without_samples_sends_no_keep_alive(tmp_path: Path) -> None:
    rig, stop = Rig(tmp_path), threading.Event()
    heartbeat = run_recorder(rig, DeafSource(rig, stop, blocks=45, looks=1_000), stop)
    assert heartbeat.beats == 45
    assert len(rig.spool.chunks.finished()) == 3  # the third was cut short by the stop


def test_a_recorder_with_a_reason_not_to_record_sends_keep_alives(tmp_path: Path) -> None:
    rig, stop = Rig(tmp_path), threading.Event()

    class Unplugged(DeafSource):
        def open(self) -> SourceFormat:
            stop.set()
            raise LOST

    heartbeat = run_recorder(rig, Unplugged(rig, stop, 0, 1), stop)
    assert heartbeat.beats == 1
    assert heartbeat.statuses == ["no_device: unplugged"]

    stop = ScriptedStop(rig.clock, ())
    rig.spool.pause.write(PauseOrder())
    stop.acts.append(stop.set)
    heartbeat = run_recorder(rig, DeafSource(rig, stop, 0, 1), stop)
    assert heartbeat.beats >= 1
    assert heartbeat.statuses == ["paused"]


@pytest.mark.slow
def test_a_hanging_sound_server_is_reported_or_stops_the_keep_alives(tmp_path: Path) -> None:
    """The microphone's own thread stands still: either the recorder says that it hears nothing, or the dog bites."""
    write_noise(tmp_path / "noise.wav", 20, seed=7)
    with fake_systemd(4.0) as watcher, virtual_microphone() as microphone:
        server = _child_named("pulseaudio")
        options = ("recorder.source=microphone", "recorder.device=pulse", "recorder.record_period=1")
        with running_recorder(tmp_path / "node", *options, environment=microphone.environment | watcher.environ) as it:
            player = microphone.play(tmp_path / "noise.wav")
            wait_until(watcher.is_ready, "it is ready")
            wait_until(lambda: len(it.spool.chunks.finished()) >= 2, "two chunks are finished")
            assert watcher.status() == "recording"
            kept = set(it.spool.chunks.finished())
            os.kill(server, signal.SIGSTOP)
            try:
                wait_until(lambda: watcher.would_kill() or watcher.status().startswith("no_device"), "it is noticed")
            finally:
                os.kill(server, signal.SIGCONT)
                player.kill()
                player.wait()
            it.end(signal.SIGABRT)  # as the watchdog does
            assert kept <= set(it.spool.chunks.finished())


def _child_named(name: str) -> int:
    for children in Path("/proc/self/task").glob("*/children"):
        for pid in children.read_text().split():
            with contextlib.suppress(OSError):  # one of the others may exit
                if Path(f"/proc/{pid}/comm").read_text().strip() == name:
                    return int(pid)
    raise AssertionError(f"no child is a {name}")


# the archiver


def test_an_archiver_whose_store_hangs_is_restarted_and_continues(tmp_path: Path, watcher: FakeSystemd) -> None:
    spool = tmp_path / "spool"
    fill_spool(spool, 5, node="porch")
    with running_store() as store, running_proxy(store.settings) as (proxy, s3):
        settings = Settings(
            node=sections.Node(name="porch"),
            recorder=sections.Recorder(record_path=spool),
            thresholds=sections.Thresholds(records_count=3),
            mqtt=sections.Mqtt(host="127.0.0.1", port=1),
            s3=s3,
            catalog=sections.Catalog(db_path=tmp_path / "catalog.db"),
        )
        proxy.fail_always("stall", "PUT")
        stop = threading.Event()
        first = threading.Thread(target=archiver_service.run, args=(settings, stop, FAST))
        first.start()
        wait_until(lambda: "PUT" in proxy.names(), "it uploads")
        assert watcher.is_ready()
        wait_until(watcher.would_kill, "the dog bites")
        assert len(list(spool.glob("*.flac"))) == 5  # nothing went that the store has not
        stop.set()
        first.join(DEADLINE)
        assert not first.is_alive()

        proxy.heal()
        stop = threading.Event()
        second = threading.Thread(target=archiver_service.run, args=(settings, stop, FAST))
        second.start()
        try:
            wait_until(lambda: not list(spool.glob("*.flac")), "all is stored")
            assert stays_alive(watcher, 2)
        finally:
            stop.set()
            second.join(DEADLINE)


def test_an_archiver_without_bucket_or_network_stays_alive_and_reports_why(
    tmp_path: Path, watcher: FakeSystemd
) -> None:
    spool = tmp_path / "spool"
    fill_spool(spool, 5, node="porch")
    settings = Settings(
        node=sections.Node(name="porch"),
        recorder=sections.Recorder(record_path=spool),
        thresholds=sections.Thresholds(records_count=3),
        mqtt=sections.Mqtt(host="127.0.0.1", port=1),
        catalog=sections.Catalog(db_path=tmp_path / "catalog.db"),
    )
    stop = threading.Event()
    thread = threading.Thread(target=archiver_service.run, args=(settings, stop, FAST))
    thread.start()
    try:
        wait_until(lambda: "set [s3] s3_bucket_name" in watcher.status(), "it says that there is no bucket")
        assert watcher.status().startswith("5 chunks wait")
        assert stays_alive(watcher, 2)
    finally:
        stop.set()
        thread.join(DEADLINE)
    assert len(list(spool.glob("*.flac"))) == 5
    Catalog(tmp_path / "catalog.db").close()


# the query service


def test_a_query_service_with_a_hanging_ably_connection_sends_no_keep_alive(
    tmp_path: Path, watcher: FakeSystemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query_service, "_SILENT", 1.0)
    hang = threading.Event()
    opened = Link.open

    async def open_or_hang(self: Link, timeout: float = 10.0) -> None:
        if hang.is_set():
            await asyncio.Event().wait()  # a fault of the SDK: it neither connects nor gives up
        await opened(self, timeout)

    monkeypatch.setattr(Link, "open", open_or_hang)
    keep = Link.keep

    async def keep_until_cut(self: Link) -> None:
        self._ping_seconds = 0.2
        watching = asyncio.create_task(keep(self))
        while not hang.is_set():
            await asyncio.sleep(0.05)
        watching.cancel()

    monkeypatch.setattr(Link, "keep", keep_until_cut)
    with server_in_thread() as server, running_service(QueryNode(tmp_path).with_doors(server)):
        wait_until(watcher.is_ready, "it is ready")
        assert stays_alive(watcher, 2)
        hang.set()
        wait_until(watcher.would_kill, "the dog bites")


def test_a_query_service_without_a_network_retries_and_stays_alive(tmp_path: Path, watcher: FakeSystemd) -> None:
    with server_in_thread() as server:
        settings = QueryNode(tmp_path).with_doors(server)
    with running_service(replace(settings, ably=replace(settings.ably, endpoint="127.0.0.1:1"))):
        wait_until(watcher.is_ready, "it is ready")
        assert stays_alive(watcher)


def test_a_query_service_without_an_ably_key_stays_alive(tmp_path: Path, watcher: FakeSystemd) -> None:
    with running_service(QueryNode(tmp_path).settings):
        wait_until(watcher.is_ready, "it is ready")
        assert stays_alive(watcher, 2)


def test_a_query_service_with_a_hanging_loop_sends_no_keep_alive(
    tmp_path: Path, watcher: FakeSystemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked, free = threading.Event(), threading.Event()

    async def block(*_: object) -> None:
        while not blocked.is_set():
            await asyncio.sleep(0.05)
        free.wait()
        await asyncio.Event().wait()

    monkeypatch.setattr(query_service, "_doors", block)
    with running_service(QueryNode(tmp_path).settings):
        wait_until(watcher.is_ready, "it is ready")
        blocked.set()
        try:
            wait_until(watcher.would_kill, "the dog bites")
        finally:
            free.set()
