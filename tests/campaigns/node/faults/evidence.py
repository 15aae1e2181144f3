"""Bytes of chunks that are about to be forgotten, to search for afterwards: nobody may have them then."""

from __future__ import annotations

import contextlib
import zipfile
from typing import Any

from tests.campaigns.node.node import Node

_SLICE_BYTES = 48
_SOUND = (".flac", ".wav", ".age")


def evidence_of(node: Node, begin: str, end: str) -> list[dict[str, Any]]:
    """The chunks that overlap the range as the node answers over HTTP, with slices of their bytes if found."""
    answer = node.get("coverage", from_=begin, to=end, urls="false") or {"intervals": []}
    found = []
    for interval in answer["intervals"]:
        if interval["state"] not in ("recorded", "pending"):
            continue
        data = _bytes_of(node, interval["chunk_id"])
        found.append({"chunk_id": interval["chunk_id"], "slices": _slices(data)})
    return found


def _bytes_of(node: Node, chunk_id: str) -> bytes:
    for path in node.spool.glob(f"{chunk_id}.*"):
        if path.suffix in _SOUND:  # beside it lie its manifest, and the empty mark of a retained copy
            with contextlib.suppress(OSError):
                return path.read_bytes()
    for path in node.bucket.rglob("*.zip"):
        with contextlib.suppress(OSError, zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.startswith(chunk_id):
                    return archive.read(name)
    return b""


def _slices(data: bytes) -> list[str]:
    """Three, from the middle, where no header is: of encoded noise, no two chunks have one in common."""
    places = (len(data) // 4, len(data) // 2, len(data) * 3 // 4)
    return [data[place : place + _SLICE_BYTES].hex() for place in places if len(data) > 8 * _SLICE_BYTES]
