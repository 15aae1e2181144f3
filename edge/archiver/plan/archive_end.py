"""The last bytes of an archive -> where its manifest is, without the rest of the central directory. Pure.

The opposite of `bundle`, and as strict as it is exact: the manifest is the last member, right before the directory.
"""

from __future__ import annotations

import struct
import zlib

from msgspec import Struct

from edge.core.errors import WireError

END_BYTES = 1_024  # of these, all that is read here

_NAME = b"manifest.json"
_LIMIT = 0xFFFFFFFF
_END = struct.Struct("<IHHHHIIH")
_ZIP64_END = struct.Struct("<IQHHIIQQQQ")
_ZIP64_LOCATOR = struct.Struct("<IIQI")
_CENTRAL = struct.Struct("<IHHHHHHIIIHHHHHII")
_FAR_BYTES = 12  # of an extra field that holds an offset beyond 4 GiB


class ManifestPlace(Struct, frozen=True):
    """`offset` from the archive's first byte."""

    offset: int
    length: int
    crc32: int

    def checked(self, data: bytes) -> bytes:
        """`data` if it is the manifest. Raises WireError."""
        if len(data) != self.length or zlib.crc32(data) != self.crc32:
            raise WireError("its manifest is damaged (CRC-32 differs)")
        return data


def manifest_place(tail: bytes, size: int) -> ManifestPlace:
    """From the last bytes of an archive of `size` bytes, at least END_BYTES or all. Raises WireError."""
    directory_at, directory_end = _directory(tail, size)
    for extra in (0, _FAR_BYTES):
        length = _CENTRAL.size + len(_NAME) + extra
        header = tail[directory_end - length : directory_end] if length <= directory_end else b""
        if len(header) == length and (found := _last_member(header, extra, directory_at)):
            return found
    raise _not_ours("its last member is not a manifest")


def _directory(tail: bytes, size: int) -> tuple[int, int]:
    """Where the central directory begins in the archive, and where it ends in `tail`."""
    end = len(tail) - _END.size
    if end < 0:
        raise _not_ours("it is too short")
    signature, disk, first_disk, here, entries, length, at, comment = _END.unpack_from(tail, end)
    if signature != 0x06054B50 or disk or first_disk or here != entries or comment:
        raise _not_ours("it has no end of a central directory")
    if entries == 0xFFFF or _LIMIT in (length, at):
        end -= _ZIP64_LOCATOR.size + _ZIP64_END.size
        if end < 0:
            raise _not_ours("it is too short")
        signature, _, _, _, _, _, here, entries, length, at = _ZIP64_END.unpack_from(tail, end)
        locator, *_ = _ZIP64_LOCATOR.unpack_from(tail, end + _ZIP64_END.size)
        if signature != 0x06064B50 or locator != 0x07064B50:
            raise _not_ours("it has no end of a central directory")
    if at + length != size - len(tail) + end or not entries:
        raise _not_ours("its central directory is not where it should be")
    return at, end


def _last_member(header: bytes, extra: int, directory_at: int) -> ManifestPlace | None:
    """None if `header` is not the entry of a manifest that ends where the directory begins."""
    signature, _, _, flags, method, _, _, crc32, packed, length, *lengths, _, _, offset = _CENTRAL.unpack_from(header)
    if signature != 0x02014B50 or lengths != [len(_NAME), extra, 0, 0]:  # of name, extra field, comment; the disk
        return None
    if header[_CENTRAL.size : _CENTRAL.size + len(_NAME)] != _NAME:
        return None
    if flags or method or packed != length:
        raise _not_ours("its manifest is compressed or encrypted")
    if extra:
        kind, extra_length, offset = struct.unpack_from("<HHQ", header, _CENTRAL.size + len(_NAME))
        if (kind, extra_length) != (1, _FAR_BYTES - 4):
            return None
    data_at = offset + 30 + len(_NAME)  # a local header without an extra field
    if data_at + length != directory_at:
        raise _not_ours("its manifest is not where it should be")
    return ManifestPlace(data_at, length, crc32)


def _not_ours(why: str) -> WireError:
    return WireError(f"is not an Im Hearing archive ({why})")
