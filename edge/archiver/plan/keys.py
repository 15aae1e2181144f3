"""The shapes of the keys under which a node keeps archives and clock corrections. Pure."""

from __future__ import annotations

import re

from edge.core.ids import ARCHIVE_PATTERN, STREAM_PATTERN

_ARCHIVE = re.compile(rf"\d{{4}}/\d\d/\d\d/{ARCHIVE_PATTERN[1:-1]}\.zip", re.ASCII)
_CORRECTION = re.compile(rf"corrections/{STREAM_PATTERN[1:-1]}\.json", re.ASCII)
_CLIPS = "clips/"  # written by the query service


def is_archive_key(key: str, node_prefix: str) -> bool:
    """Whether an archive of the node can have this key; `node_prefix` is what all its keys start with."""
    return key.startswith(node_prefix) and _ARCHIVE.fullmatch(key, len(node_prefix)) is not None


def correction_key(node_prefix: str, stream_id: str) -> str:
    """Where the correction of a stream's times is stored."""
    return f"{node_prefix}corrections/{stream_id}.json"


def is_correction_key(key: str, node_prefix: str) -> bool:
    return key.startswith(node_prefix) and _CORRECTION.fullmatch(key, len(node_prefix)) is not None


def is_misplaced_archive(key: str, node_prefix: str) -> bool:
    """Whether it is named like a zip file, but neither an archive nor among the clips."""
    is_clip = key.startswith(node_prefix + _CLIPS)
    return key.endswith(".zip") and not is_clip and not is_archive_key(key, node_prefix)
