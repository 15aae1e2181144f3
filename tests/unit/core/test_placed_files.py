"""What another user places instead of a file is neither waited for, nor followed, nor obeyed."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from edge.catalog.erasures import ErasureResult, Erasures
from edge.catalog.holds import HoldsUnreadable, read_holds
from edge.core.errors import SpoolError
from edge.core.files import ForeignFile, read_placed_file
from edge.core.instant import Instant
from edge.spool import limits
from edge.spool.spool import Spool
from edge.spool.thresholds import Limits
from tests.support.privileges import NOBODY

KINDS: dict[str, Callable[[Path], object]] = {
    "pipe": os.mkfifo,
    "link": lambda path: path.symlink_to("/etc/hostname"),
    "loop of links": lambda path: path.symlink_to(path.name),
    "endless device": lambda path: path.symlink_to("/dev/zero"),
    "folder": lambda path: path.mkdir(),
}


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest) -> Callable[[Path], object]:
    return KINDS[request.param]


def test_only_regular_files_are_read(tmp_path: Path, place: Callable[[Path], object]) -> None:
    place(tmp_path / "x")
    with pytest.raises(ForeignFile, match="not a regular file"):
        read_placed_file(tmp_path / "x")


def test_a_socket_is_no_regular_file() -> None:
    with tempfile.TemporaryDirectory() as short, socket.socket(socket.AF_UNIX) as made:
        made.bind(f"{short}/x")
        with pytest.raises(ForeignFile, match="not a regular file"):
            read_placed_file(Path(short) / "x")


def test_a_file_larger_than_allowed_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"123456")
    assert read_placed_file(tmp_path / "x", limit=6) == b"123456"
    with pytest.raises(OSError, match="too large"):
        read_placed_file(tmp_path / "x", limit=5)


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file to another user")
def test_a_file_of_another_user_is_refused_where_it_orders_something(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"1")
    os.chown(tmp_path / "x", NOBODY, NOBODY)
    assert read_placed_file(tmp_path / "x") == b"1"
    with pytest.raises(ForeignFile, match="not from this node's owner"):
        read_placed_file(tmp_path / "x", owners={0})


def test_in_place_of_the_holds_it_lets_nothing_be_deleted(tmp_path: Path, place: Callable[[Path], object]) -> None:
    place(tmp_path / "holds.json")
    with pytest.raises(HoldsUnreadable, match="not a regular file"):
        read_holds(tmp_path / "catalog.db")


def test_in_place_of_an_order_to_erase_it_is_reported_and_the_others_are_found(
    tmp_path: Path, place: Callable[[Path], object], caplog: pytest.LogCaptureFixture
) -> None:
    erasures = Erasures(tmp_path / "catalog.db")
    order = erasures.give(Instant(0), Instant(1), Instant(2))
    place(tmp_path / "orders" / f"erase-{'a' * 16}.json")
    assert erasures.open() == [order]
    assert "not a regular file" in caplog.text
    place(tmp_path / "orders" / f"result-{order.id}.json")
    with pytest.raises(OSError, match="not a regular file"):
        erasures.result(order.id)
    assert ErasureResult(order.id, "done").id == order.id


def test_in_place_of_the_limits_it_leaves_the_configured_ones(
    tmp_path: Path, place: Callable[[Path], object], caplog: pytest.LogCaptureFixture
) -> None:
    place(tmp_path / "settings.json")
    assert limits.active(tmp_path, Limits(records_count=3)) == Limits(records_count=3)
    assert "not a regular file" in caplog.text


def test_in_place_of_the_recorders_lock_or_state_it_keeps_nobody_waiting(
    tmp_path: Path, place: Callable[[Path], object]
) -> None:
    spool = Spool(tmp_path, "porch")
    place(tmp_path / ".recorder.lock")
    place(tmp_path / "state.json")
    with pytest.raises(SpoolError):
        spool.state.read()
    with pytest.raises(SpoolError), spool.recorder_lock.hold():
        pass
