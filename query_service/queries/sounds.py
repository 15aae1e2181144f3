"""Sounds: what reached `[thresholds] sound_level`, one by one."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from msgspec import Struct, field

from edge.core.ids import ArchiveId, ChunkId, SoundId
from edge.core.instant import Instant
from edge.core.values import LevelUnit, Where
from query_service.queries.declaration import Column, Listing, QueryType
from query_service.queries.values import AnswerHead, ArchivePlace

SoundOrder = Literal["loudest", "time"]


class Sound(Struct, frozen=True, kw_only=True):
    """One sound that began in the range. `chunk_id`: where it begins; `fetch` its times to hear it.

    Levels in `unit`, of the loudest and of all of it; `to` is null while it lasts. `recording`: it has ended, and that
    chunk is still being written.
    """

    sound_id: SoundId
    from_: Instant = field(name="from")
    to: Instant | None
    lafmax: float
    laeq: float
    unit: LevelUnit | None
    state: Literal["recorded", "pending", "recording", "expired"]
    uncertain: bool
    chunk_id: ChunkId
    where: Where | None


class SoundsAnswer(AnswerHead, frozen=True, kw_only=True):
    """The sounds that began in [from, to), the loudest first or in order of time. Any page may be empty."""

    type: Literal["sounds"] = "sounds"
    from_: Instant = field(name="from")
    to: Instant
    sounds: tuple[Sound, ...]
    archives: dict[ArchiveId, ArchivePlace]
    next: str | None = None


def _length(sound: Sound) -> timedelta | str:
    return "lasts" if sound.to is None else timedelta(microseconds=sound.to - sound.from_)


SOUNDS = QueryType(
    "sounds",
    SoundsAnswer,
    fields=("order", "min_level"),
    joins=("sounds", "archives"),
    listing=Listing(
        rows=lambda answer: answer.sounds,
        columns=(
            Column("from", lambda sound: sound.from_),
            Column("length", _length, is_number=True),
            Column("loudest", lambda sound: f"{sound.lafmax:.1f} {sound.unit or ''}", is_number=True),
            Column("average", lambda sound: f"{sound.laeq:.1f} {sound.unit or ''}", is_number=True),
            Column("state", lambda sound: sound.state),
        ),
        summary=lambda answer: f"{len(answer.sounds)} sound{'' if len(answer.sounds) == 1 else 's'}",
        empty="no sounds: none was as loud as [thresholds] sound_level, or that is 0, and nothing counts as a sound;"
        " try thresholds.sound_level=-40",
    ),
)
