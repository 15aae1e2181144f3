"""A time zone that the machine does not know is noticed: the C library would silently use UTC."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.core.local_zone import unknown_zone


@pytest.mark.parametrize("name", ["Mars/Olympus", ":Mars/Olympus", "Europe", "/etc/nowhere", "+03"])
def test_an_unknown_zone_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / "Europe").mkdir()
    assert unknown_zone({"TZ": name, "TZDIR": str(tmp_path)}) == name.removeprefix(":")


@pytest.mark.parametrize("name", ["", ":", "UTC", "UTC0", "CET-1CEST,M3.5.0,M10.5.0/3", "<+03>-3", "Europe/Berlin"])
def test_a_known_zone_or_a_rule_is_not(name: str, tmp_path: Path) -> None:
    (tmp_path / "Europe").mkdir()
    (tmp_path / "Europe/Berlin").touch()
    assert unknown_zone({"TZ": name, "TZDIR": str(tmp_path)}) is None


def test_a_zone_may_be_a_file_anywhere(tmp_path: Path) -> None:
    (tmp_path / "zone").touch()
    assert unknown_zone({"TZ": str(tmp_path / "zone")}) is None
