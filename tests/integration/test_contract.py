"""The public contract equals tests/contract/expected; `scripts/contract --help` says how to update it."""

from __future__ import annotations

import difflib
import re
import sys
from pathlib import Path

import pytest

from tests.contract.__main__ import write

_EXPECTED = Path(__file__).parents[1] / "contract" / "expected"
_SHOWN = 400  # lines of the difference


@pytest.mark.slow
def test_the_public_contract_has_not_changed(tmp_path: Path) -> None:
    write(tmp_path / "contract")
    now, before = _files(tmp_path / "contract"), _files(_EXPECTED)
    lines = [line for name in sorted(now | before) for line in _difference(name, before.get(name), now.get(name))]
    assert not lines, "\n".join(["the contract differs; see `scripts/contract --help`", *lines[:_SHOWN]])


def _files(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): _read(path) for path in root.rglob("*") if path.is_file()}


def _read(path: Path) -> str:
    text = path.read_bytes().decode()
    # Python 3.13 writes `-o, --output FILE` where earlier ones write `-o FILE, --output FILE`, and wraps otherwise
    if path.parent.name == "help" and sys.version_info >= (3, 13):
        return re.sub(r"(-\w) [A-Z]+, --", r"\1, --", re.sub(r"\s+", " ", text))
    return text


def _difference(name: str, before: str | None, now: str | None) -> list[str]:
    if before is None or now is None:
        return [f"{name}: {'is new' if before is None else 'is no longer written'}"]
    return list(difflib.unified_diff(before.splitlines(), now.splitlines(), f"expected/{name}", name, "", "", 2, ""))
