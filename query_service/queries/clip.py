"""Clip: the sound of a range as one file, made in the store on request."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct, field

from edge.core.instant import Instant
from edge.core.values import Count, Positive, Sha256
from query_service.queries.declaration import QueryType
from query_service.queries.values import AnswerHead, Interval


class Clip(Struct, frozen=True, kw_only=True):
    """One sound file made for a range; `url`, if requested, works for `[query] url_seconds`."""

    s3: str
    bucket: str
    key: str
    url: str | None
    format: Literal["flac"] = "flac"
    bytes: Count
    sha256: Sha256
    rate: Positive
    channels: Positive
    frames: Count  # silence where there is no sound included


class ClipAnswer(AnswerHead, frozen=True, kw_only=True):
    """The sound of [from, to) as one exact file. `holes`: where it is silent because nothing is there, and why."""

    type: Literal["clip"] = "clip"
    from_: Instant = field(name="from")
    to: Instant
    clip: Clip
    holes: tuple[Interval, ...] = ()
    holes_left_out: Count = 0  # more of them than one message carries


CLIP = QueryType("clip", ClipAnswer, by_address=False, least_timeout=60.0)
