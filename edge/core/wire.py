"""JSON both ways for msgspec structs, `Instant` as RFC 3339 text. Unknown fields are ignored, wrong ones refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from edge.core.errors import WireError
from edge.core.instant import Instant

T = TypeVar("T")


def _encode_extra(value: Any) -> Any:
    if isinstance(value, Instant | Path):
        return str(value)
    raise NotImplementedError(f"cannot encode {type(value)}")


def _decode_extra(wanted: type, value: Any) -> Any:
    if wanted is Instant:
        if not isinstance(value, str):
            raise ValueError("Expected a time like 2026-03-03T22:00:00Z")
        return Instant.parse(value)
    raise NotImplementedError(f"cannot decode {wanted}")


_encoder = msgspec.json.Encoder(enc_hook=_encode_extra)


def encode(value: Any) -> bytes:
    """One line of JSON, UTF-8."""
    return _encoder.encode(value)


def encode_pretty(value: Any) -> bytes:
    """Indented JSON with a final newline, for files that people may open."""
    return msgspec.json.format(_encoder.encode(value), indent=1) + b"\n"


def decode(data: bytes | str, wanted: type[T]) -> T:
    """The value that `data` holds; WireError names the field that does not fit."""
    try:
        return msgspec.json.decode(data, type=wanted, dec_hook=_decode_extra)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise _wire_error(problem) from None


def convert(value: Any, wanted: type[T]) -> T:
    """Like `decode`, from values that are already plain Python (dict, list, str, ...)."""
    try:
        return msgspec.convert(value, wanted, dec_hook=_decode_extra)
    except (msgspec.ValidationError, RecursionError) as problem:
        raise _wire_error(problem) from None


def to_plain(value: Any) -> Any:
    """Structs as plain dicts and lists, instants as text."""
    return msgspec.to_builtins(value, enc_hook=_encode_extra)


def _wire_error(problem: Exception) -> WireError:
    # msgspec ends its messages with the place: "Expected `int` >= 0 - at `$.chunks[...].frames`"
    text, _, place = str(problem).partition(" - at `$")
    field = place.strip("`").lstrip(".") or None
    missing = re.search(r"missing required field `([^`]+)`", text)
    if missing:
        field = f"{field}.{missing[1]}" if field else missing[1]
    return WireError(text if field is None else f"{field}: {text}", field)
