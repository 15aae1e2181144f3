"""What differs from run to run, replaced by placeholders; and values reduced to their shape."""

from __future__ import annotations

import re
from typing import Any

from tests.contract.fixed_spool import DAY

_INSTANT = re.compile(rf"(?!{DAY}T)\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
_LINK = re.compile(r"http://127\.0\.0\.1:\d+/(\S+?)\?(\S*)")
_PORT = re.compile(r"127\.0\.0\.1:\d+")
_CLIP = re.compile(r"(clips/\S+-)[0-9a-f]{16}(?=\.flac)")  # named after its bytes, which depend on the FLAC encoder
# by the name of the field: of the machine and of the moment, not of the node
_MOMENTARY = frozenset({
    "uptime", "disk_free", "disk_hours_left", "instance", "boot_id", "utc_offset",
    "planned_at", "uploaded_at", "deleted_at", "at", "seconds",
})  # fmt: skip


def without_moment(value: Any, field: str = "") -> Any:
    """JSON with today's times, ports, links, random ids and the machine's own figures replaced."""
    if isinstance(value, dict):
        value = {**value, "bytes": "<bytes>", "sha256": "<sha256>"} if field == "clip" else value
        return {key: without_moment(item, key) for key, item in value.items()}
    if isinstance(value, list):
        return [without_moment(item, field) for item in value]
    if field in _MOMENTARY and value is not None:
        return f"<{field}>"
    if field == "id" and isinstance(value, str) and value and not value.startswith("contract-"):
        return "<id>"
    return plain_text(value) if isinstance(value, str) else value


def plain_text(text: str) -> str:
    """The same of text."""
    text = _LINK.sub(lambda link: f"http://<store>/{link[1]}?{_parameters(link[2])}", text)
    return _CLIP.sub(r"\1<hex>", _PORT.sub("127.0.0.1:<port>", _INSTANT.sub("<time>", text)))


def _parameters(query: str) -> str:
    """The names of a link's parameters; their values are keys, times and signatures."""
    return "&".join(part.split("=")[0] for part in query.split("&"))


def shape(*values: Any) -> list[str]:
    """Every path in these JSON values with the types seen there, sorted: `.chunks[].levels.laeq: number`.

    Null counts only where nothing else is seen: whether it comes up in a recording of a few seconds is chance.
    """
    seen: dict[str, set[str]] = {}
    for value in values:
        _walk(value, "", seen)
    return [f"{path}: {' | '.join(sorted(types - {'null'} or types))}" for path, types in sorted(seen.items())]


def _walk(value: Any, path: str, seen: dict[str, set[str]]) -> None:
    seen.setdefault(path or ".", set()).add(_type_of(value))
    if isinstance(value, dict):
        for key, item in value.items():
            _walk(item, f"{path}.{key}", seen)
    elif isinstance(value, list):
        for item in value:
            _walk(item, f"{path}[]", seen)


def _type_of(value: Any) -> str:
    names = {bool: "boolean", int: "integer", float: "number", str: "text", list: "list", dict: "object"}
    return "null" if value is None else names[type(value)]
