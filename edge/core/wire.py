"""JSON for msgspec structs, with `Instant` as RFC 3339 text. Unknown fields are ignored, invalid ones rejected."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from edge.core.errors import WireError
from edge.core.instant import Instant

T = TypeVar("T")


# neighbours share a time, and an answer's items are measured before they are sent
_time_text = lru_cache(maxsize=512)(Instant.__str__)


def _encode_extra(value: Any) -> Any:
    if isinstance(value, Instant):
        return _time_text(value)
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError(f"cannot encode {type(value)}")


def _decode_extra(target: type, value: Any) -> Any:
    if target is Instant:
        if not isinstance(value, str):
            raise ValueError("Expected a time like 2026-03-03T22:00:00Z")
        return Instant.parse(value)
    raise NotImplementedError(f"cannot decode {target}")


_encoder = msgspec.json.Encoder(enc_hook=_encode_extra)


def encode(value: Any) -> bytes:
    """One line of JSON, UTF-8."""
    return _encoder.encode(value)


def encode_pretty(value: Any) -> bytes:
    """Indented JSON with a final newline, for files that people may read."""
    return msgspec.json.format(_encoder.encode(value), indent=1) + b"\n"


def decode(data: bytes | str, target: type[T]) -> T:
    """Decodes JSON into `target`; WireError names the invalid field."""
    try:
        return msgspec.json.decode(data, type=target, dec_hook=_decode_extra)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise _wire_error(problem) from None


def convert(value: Any, target: type[T]) -> T:
    """Like `decode`, but from plain Python values (dict, list, str, ...)."""
    try:
        return msgspec.convert(value, target, dec_hook=_decode_extra)
    except (msgspec.ValidationError, RecursionError) as problem:
        raise _wire_error(problem) from None


def to_plain(value: Any) -> Any:
    """Structs as plain dicts and lists, instants as text."""
    return msgspec.to_builtins(value, enc_hook=_encode_extra)


def _wire_error(problem: Exception) -> WireError:
    # msgspec ends its messages with the path: "Expected `int` >= 0 - at `$.chunks[...].frames`"
    text, _, path = str(problem).partition(" - at `$")
    field = path.strip("`").lstrip(".") or None
    missing = re.search(r"missing required field `([^`]+)`", text)
    if missing:
        field = f"{field}.{missing[1]}" if field else missing[1]
    return WireError(text if field is None else f"{field}: {text}", field)
