"""Inputs for a target: random bytes, and what it accepts, with changes that parsers get wrong."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial

from hypothesis import strategies as st

from tests.fuzz.target import Target, packed, unpacked

_NUMBERS = (0, 1, 2**7, 2**8 - 1, 2**15, 2**16 - 1, 2**31, 2**32 - 1, 2**53, 2**63 - 1, 2**64 - 1, 2**80)
_TOKENS = (
    *(str(sign * number).encode() for number in _NUMBERS for sign in (1, -1)),
    *(b"9" * 400, b"1e400", b"-1e308", b"1e-400", b"NaN", b"null", b"true", b"{}", b"[]", b'""', b"[" * 2_000),
    *(b'"9999-12-31T23:59:59.999999Z"', b'"0001-01-01T00:00:00Z"', b'"0000-00-00T00:00:00Z"', b'"\\ud800"', b"\xff"),
    *(number.to_bytes(width, "little") for number in _NUMBERS for width in (2, 4, 8) if number < 256**width),
    *(number.to_bytes(width, "big") for number in _NUMBERS for width in (2, 4, 8) if number < 256**width),
)

Edit = tuple[str, int, int, bytes]  # kind, place, length, text

_KINDS = ("replace", "insert", "delete", "repeat", "flip", "value")
_PLACES, _LENGTHS, _MOST_EDITS = 2**16, 64, 6
_EDITS: st.SearchStrategy[Edit] = st.tuples(
    st.sampled_from(_KINDS),
    st.integers(0, _PLACES),
    st.integers(1, _LENGTHS),
    st.one_of(st.sampled_from(_TOKENS), st.binary(min_size=1, max_size=8)),
)


def inputs(target: Target) -> st.SearchStrategy[bytes]:
    """Mostly seeds with a few edits; for Hypothesis, which shrinks what fails."""
    seeds, edits = st.sampled_from(list(target.seeds)), st.lists(_EDITS, max_size=_MOST_EDITS)
    edited = st.builds(partial(_changed, is_packed=target.is_packed), seeds, edits, st.integers(0, 2**16))
    return st.one_of(edited, edited, edited, st.binary(max_size=300))


def random_input(target: Target, pool: Sequence[bytes], dice: random.Random) -> bytes:
    """The same in a hundredth of the time, for a campaign; from `pool` instead of the seeds."""
    if dice.random() < 0.01:
        return dice.randbytes(dice.randrange(300))
    edits = [_random_edit(dice) for _ in range(dice.choice((1, 1, 1, 2, 2, 3, _MOST_EDITS)))]
    is_packed = target.is_packed and dice.random() < 0.95
    return _changed(dice.choice(pool), edits, dice.randrange(2**16), is_packed=is_packed)


def _changed(data: bytes, edits: list[Edit], place: int, *, is_packed: bool) -> bytes:
    """With edits; of what is packed, in one part alone: the one that the byte at `place` belongs to."""
    parts = unpacked(data) if is_packed else []
    if not parts:
        return _edited(data, edits)
    owners = [number for number, part in enumerate(parts) for _ in part] or [0]
    number = owners[place % len(owners)]
    return packed(*parts[:number], _edited(parts[number], edits)[:65_535], *parts[number + 1 :])


def _random_edit(dice: random.Random) -> Edit:
    text = dice.choice(_TOKENS) if dice.random() < 0.5 else dice.randbytes(dice.randint(1, 8))
    return dice.choice(_KINDS), dice.randrange(_PLACES), dice.randint(1, _LENGTHS), text


def _edited(data: bytes, edits: list[Edit]) -> bytes:
    for kind, place, length, text in edits:
        at = place % (len(data) + 1)
        end = at + length
        if kind == "value":  # a whole JSON value or number
            at, end = _value_around(data, at)
        match kind:
            case "replace":
                data = data[:at] + text + data[at + len(text) :]
            case "insert":
                data = data[:at] + text + data[at:]
            case "delete":
                data = data[:at] + data[end:]
            case "repeat":
                data = data[:end] + data[at:end] * (1 + place % 40) + data[end:]
            case "flip":
                data = data[:at] + bytes(byte ^ 1 << place % 8 for byte in data[at : at + 1]) + data[at + 1 :]
            case _:
                data = data[:at] + text + data[end:]
    return data[:200_000]


def _value_around(data: bytes, place: int) -> tuple[int, int]:
    """From after the `:`, `,` or `[` before `place` to the next `,`, `]` or `}`."""
    start = max(data.rfind(mark, 0, place) for mark in (b":", b",", b"[", b"="))
    ends = [end for mark in (b",", b"]", b"}", b"\n") if (end := data.find(mark, start + 1)) >= 0]
    return start + 1, min(ends, default=len(data))
