"""Members of an archive in the store, as files, so that another archive can be made of them."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator
from typing import BinaryIO, cast

from msgspec import Struct

from edge.archiver.plan.bundle import OpenMember
from edge.core.instant import MICROSECONDS, Instant
from edge.store.interface import RangeReader

_CLIP = re.compile(r"/clips/(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z-[0-9a-f]+\.\w+$", re.ASCII)
_LONGEST_CLIP = 600 * MICROSECONDS  # as long as the query service makes them


class SourceArchive(Struct, frozen=True):
    """An archive in the store and where its members are in it: name -> (offset, length)."""

    key: str
    places: dict[str, tuple[int, int]]


def stored_members(store: RangeReader, source: SourceArchive) -> OpenMember:
    """Opens a member by its name, with one request each. Reading raises what the store does."""

    def open_member(name: str) -> BinaryIO:
        if name not in source.places:
            raise FileNotFoundError(name)
        return cast(BinaryIO, StoredMember(store, source.key, *source.places[name]))

    return open_member


class StoredMember(io.RawIOBase):
    """One member, read from its start or from one `seek`."""

    def __init__(self, store: RangeReader, key: str, offset: int, length: int) -> None:
        self._store, self._key, self._offset, self._length = store, key, offset, length
        self._at = 0
        self._pieces: Iterator[bytes] | None = None
        self._left = b""

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence != io.SEEK_SET or self._pieces is not None:
            raise io.UnsupportedOperation("once, before reading")
        self._at = offset
        return offset

    def read(self, size: int = -1) -> bytes:
        """Some bytes, at most `size`; none at the end."""
        if self._at >= self._length:
            return b""
        if self._pieces is None:
            self._pieces = self._store.read(self._key, self._offset + self._at, self._length - self._at)
        data = self._left or next(self._pieces, b"")
        piece, self._left = (data, b"") if size < 0 else (data[:size], data[size:])
        self._at += len(piece)
        return piece


def clip_touches(key: str, start: Instant, end: Instant) -> bool:
    """Whether a clip of this key can hold sound of [start, end): its name gives its start, to the second."""
    match = _CLIP.search(key)
    if match is None:
        return False
    with contextlib.suppress(ValueError):
        began = Instant.parse("{}-{}-{}T{}:{}:{}Z".format(*match.groups()))
        return began < end and began + MICROSECONDS + _LONGEST_CLIP > start
    return False
