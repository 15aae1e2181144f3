"""The instance id: the same for a card as long as it stays in its board, and another for a copy in another board."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from edge.core.instance import board_id, is_copied_card, load_instance_id

SERIAL, UUID = "firmware/devicetree/base/serial-number", "class/dmi/id/product_uuid"


def board(folder: Path, **files: str) -> Path:
    """A /sys of one board: `serial`, `uuid`, and network cards by name."""
    paths = {"serial": SERIAL, "uuid": UUID}
    for name, text in files.items():
        path = folder / paths.get(name, f"class/net/{name}/address")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        if name not in paths:
            (path.parent / "device").mkdir()
            (path.parent / "addr_assign_type").write_text("0\n")
    folder.mkdir(exist_ok=True)
    return folder


def test_a_copied_card_is_another_instance_on_another_board(tmp_path: Path) -> None:
    one, other = board(tmp_path / "one", serial="10000000a1\0"), board(tmp_path / "other", serial="10000000b2\0")
    first = load_instance_id(tmp_path / "card", one)
    shutil.copytree(tmp_path / "card", tmp_path / "copy")
    second = load_instance_id(tmp_path / "copy", other)
    assert first != second
    assert is_copied_card(first, second)
    assert is_copied_card(second, first)


def test_a_card_keeps_its_instance_as_long_as_it_stays_in_its_board(tmp_path: Path) -> None:
    sys = board(tmp_path / "sys", serial="10000000a1\0")
    first = load_instance_id(tmp_path / "card", sys)
    assert load_instance_id(tmp_path / "card", sys) == first
    assert not is_copied_card(first, first)
    assert "10000000a1" not in first
    assert re.fullmatch("[0-9a-f]{16}-[0-9a-f]{8}", first)


def test_two_nodes_are_no_copies_of_one_card(tmp_path: Path) -> None:
    sys = board(tmp_path / "sys", serial="10000000a1\0")
    assert not is_copied_card(load_instance_id(tmp_path / "a", sys), load_instance_id(tmp_path / "b", sys))


def test_without_anything_of_the_board_the_stored_half_is_the_instance(tmp_path: Path) -> None:
    found = load_instance_id(tmp_path / "card", board(tmp_path / "sys"))
    assert found == (tmp_path / "card" / "instance").read_text()


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"serial": "10000000a1\0", "uuid": "1-2\n", "eth0": "b8:27:eb:00:00:01\n"}, "10000000a1"),
        ({"serial": "0000000000000000\0", "uuid": "1-2\n"}, "1-2"),
        ({"uuid": "00000000-0000\n", "eth0": "b8:27:eb:00:00:01\n"}, "b8:27:eb:00:00:01"),
        ({"wlan0": "b8:27:eb:00:00:01\n", "eth0": "b8:27:eb:00:00:02\n"}, "b8:27:eb:00:00:01"),
        ({}, ""),
    ],
)
def test_the_board_is_known_by_its_serial_number_else_its_uuid_else_a_network_card(
    tmp_path: Path, files: dict[str, str], expected: str
) -> None:
    assert board_id(board(tmp_path / "sys", **files)) == expected


def test_an_address_that_changes_at_each_start_is_not_the_boards(tmp_path: Path) -> None:
    sys = board(
        tmp_path / "sys", eth0="b8:27:eb:00:00:01\n", wlan0="02:00:00:00:00:01\n", docker0="02:42:00:00:00:01\n"
    )
    (sys / "class/net/wlan0/addr_assign_type").write_text("1\n")  # NET_ADDR_RANDOM
    shutil.rmtree(sys / "class/net/docker0/device")  # not made of hardware
    assert board_id(sys) == "b8:27:eb:00:00:01"
