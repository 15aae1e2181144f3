"""What a service reports to systemd, and when."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.core.systemd import Heartbeat
from tests.support.nodes.fake_systemd import FakeSystemd


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def fake_systemd(tmp_path: Path) -> Iterator[FakeSystemd]:
    made = FakeSystemd(str(tmp_path / "notify"), 20)
    yield made
    made.close()


def test_readiness_is_reported_first_and_keep_alives_four_times_per_interval(
    fake_systemd: FakeSystemd,
) -> None:
    clock = Clock()
    heartbeat = Heartbeat(fake_systemd.environ, clock)
    assert fake_systemd.receive() == []
    heartbeat.beat()
    assert fake_systemd.receive() == ["READY=1\nWATCHDOG=1"]
    for _ in range(100):
        clock.now += 0.2
        heartbeat.beat()
    assert fake_systemd.receive() == ["WATCHDOG=1"] * 4


def test_readiness_is_reported_once_without_a_watchdog(fake_systemd: FakeSystemd) -> None:
    clock = Clock()
    heartbeat = Heartbeat({"NOTIFY_SOCKET": fake_systemd.environ["NOTIFY_SOCKET"]}, clock)
    for _ in range(10):
        heartbeat.beat()
        clock.now += 60
    assert fake_systemd.receive() == ["READY=1\nWATCHDOG=1"]


@pytest.mark.parametrize("wrong", [{"WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "soon"}, {"WATCHDOG_USEC": "²"}])
def test_a_watchdog_of_another_process_or_without_an_interval_is_ignored(
    fake_systemd: FakeSystemd, wrong: dict[str, str]
) -> None:
    clock = Clock()
    heartbeat = Heartbeat(fake_systemd.environ | wrong, clock)
    heartbeat.beat()
    clock.now += 60
    heartbeat.beat()
    assert fake_systemd.receive() == ["READY=1\nWATCHDOG=1"]


def test_a_status_is_sent_once_as_one_line(fake_systemd: FakeSystemd) -> None:
    heartbeat = Heartbeat(fake_systemd.environ)
    heartbeat.status("recording\nREADY=1")
    heartbeat.status("recording READY=1")
    heartbeat.status("x" * 500)
    heartbeat.stopping()
    assert fake_systemd.receive() == ["STATUS=recording READY=1", f"STATUS={'x' * 200}", "STOPPING=1"]


def test_an_abstract_socket_works(tmp_path: Path) -> None:
    fake_systemd = FakeSystemd(f"@imhearing-{os.getpid()}-{tmp_path.name}", 20)
    Heartbeat(fake_systemd.environ).beat()
    assert fake_systemd.receive() == ["READY=1\nWATCHDOG=1"]
    fake_systemd.close()


@pytest.mark.parametrize("address", ["", "relative", "/nowhere/at/all", "vsock:2:1234"])
def test_a_missing_socket_is_ignored(address: str) -> None:
    heartbeat = Heartbeat({"NOTIFY_SOCKET": address})
    heartbeat.beat()
    heartbeat.status("recording")
    heartbeat.stopping()


def test_a_systemd_that_does_not_read_blocks_no_service(fake_systemd: FakeSystemd) -> None:
    heartbeat = Heartbeat(fake_systemd.environ)
    for number in range(2_000):  # more than the socket's queue
        heartbeat.status(f"chunk {number}")
    assert fake_systemd.receive()[0] == "STATUS=chunk 0"
