"""Reads back the YAML that edge/messaging/asyncapi.py writes: block maps and lists by indentation, scalars as JSON."""

from __future__ import annotations

import json
import re
from typing import Any

_ENTRY = re.compile(r'("(?:[^"\\]|\\.)*"|[A-Za-z][A-Za-z0-9_]*):(?: (.*))?')


def parse(text: str) -> Any:
    """The value that `text` holds."""
    lines = [line for line in text.split("\n") if line and not line.startswith("#")]
    value, rest = _block(lines, 0)
    assert not rest, rest
    return value


def _block(lines: list[str], depth: int) -> tuple[Any, list[str]]:
    if not lines[0][depth:].startswith("-") or lines[0][depth:].startswith('"'):
        return _map(lines, depth)
    items = []
    while lines and _is_at(lines[0], depth):
        head = lines[0][depth:]
        assert head[0] == "-", head
        if head == "-":
            item, lines = _block(lines[1:], depth + 2)
        else:
            item, lines = json.loads(head[2:]), lines[1:]
        items.append(item)
    return items, lines


def _map(lines: list[str], depth: int) -> tuple[dict[str, Any], list[str]]:
    made: dict[str, Any] = {}
    while lines and _is_at(lines[0], depth):
        match = _ENTRY.fullmatch(lines[0][depth:])
        assert match, lines[0]
        key = json.loads(match[1]) if match[1].startswith('"') else match[1]
        if match[2] is None:
            made[key], lines = _block(lines[1:], depth + 2)
        else:
            made[key], lines = json.loads(match[2]), lines[1:]
    return made, lines


def _is_at(line: str, depth: int) -> bool:
    return len(line) - len(line.lstrip(" ")) == depth
