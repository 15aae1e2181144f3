"""Identifiers: their patterns, and how they are made. All external input is validated against these patterns."""

from __future__ import annotations

import re
import secrets
from typing import Annotated

from msgspec import Meta

from edge.core.instant import Instant

NODE_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,62}$"
STREAM_PATTERN = r"^[0-9]{8}T[0-9]{6}Z-[a-z2-7]{4}$"
CHUNK_PATTERN = r"^[0-9]{8}T[0-9]{6}Z-[a-z2-7]{4}-[0-9]{6}$"
ARCHIVE_PATTERN = r"^[0-9]{8}T[0-9]{6}Z-[a-z2-7]{4}-[0-9]{6}-[0-9a-f]{8}$"
SOUND_PATTERN = r"^[0-9]{8}T[0-9]{6}Z-[a-z2-7]{4}-s[0-9]{1,15}$"
CLIENT_PATTERN = r"^[A-Za-z0-9_-]{1,64}$"
LAST_SEQ = 999_999  # a stream's last chunk number: CHUNK_PATTERN has six digits
EVERY_NODE = "all"  # reserved: addresses every node

NodeName = Annotated[str, Meta(pattern=NODE_PATTERN, description="The node's name")]
StreamId = Annotated[str, Meta(pattern=STREAM_PATTERN, description="One uninterrupted run of samples")]
ChunkId = Annotated[str, Meta(pattern=CHUNK_PATTERN, description="One chunk: its stream and its number in it")]
ArchiveId = Annotated[str, Meta(pattern=ARCHIVE_PATTERN, description="First chunk and 8 hex digits of the plan")]
SoundId = Annotated[str, Meta(pattern=SOUND_PATTERN, description="One sound: its stream and first frame")]

_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"
# In Python `$` also matches before a final newline, in JSON Schema (ECMA 262) it does not: hence fullmatch.
_NODE = re.compile(NODE_PATTERN)
_CHUNK = re.compile(CHUNK_PATTERN)
_CLIENT = re.compile(CLIENT_PATTERN)


def new_stream_id(now: Instant) -> str:
    """The current time and 4 random letters: unique without a stored counter."""
    return f"{now.datetime():%Y%m%dT%H%M%SZ}-{''.join(secrets.choice(_BASE32) for _ in range(4))}"


def chunk_id(stream_id: str, seq: int) -> str:
    return f"{stream_id}-{seq:06d}"


def stream_of(chunk_id: str) -> str:
    """The stream that a valid chunk id names."""
    return chunk_id[:-7]


def seq_of(chunk_id: str) -> int:
    return int(chunk_id[-6:])


def sound_id(stream_id: str, first_frame: int) -> str:
    return f"{stream_id}-s{first_frame}"


def is_chunk_id(text: str) -> bool:
    return _CHUNK.fullmatch(text) is not None


def is_node_name(text: str) -> bool:
    """Whether `text` can name a node; `all` is reserved."""
    return _NODE.fullmatch(text) is not None and text != EVERY_NODE


def is_client_id(text: str) -> bool:
    return _CLIENT.fullmatch(text) is not None


def node_name_from_host(host: str) -> str:
    """The host name, reduced to a valid node name."""
    name = re.sub(r"[^a-z0-9_-]+", "-", host.split(".", maxsplit=1)[0].lower()).strip("-_")[:63]
    return name if is_node_name(name) else "node"
