"""How far the pages of an answer have come, so that it can go on where a node refuses its cursor."""

from __future__ import annotations

from typing import cast

from msgspec.structs import replace

from edge.core.instant import Instant
from query_service.queries.coverage import CoverageAnswer
from query_service.queries.days import DaysAnswer
from query_service.queries.levels import LevelsAnswer
from query_service.queries.protocol import PagedAnswer, Request, new_id
from query_service.queries.sounds import Sound
from query_service.queries.states import StatesAnswer


class Position:
    """The place behind the last page of the answer to `asked`."""

    def __init__(self, asked: Request) -> None:
        self._asked = asked
        self._moment: Instant | None = None
        self._key: tuple[float, int, str] | None = None  # of the last sound
        self._restarted_at: object = None

    def take(self, page: PagedAnswer) -> PagedAnswer:
        """`page` as one of the answer to `asked`, without the sounds that came before."""
        if isinstance(page, CoverageAnswer):
            self._moment = page.intervals[-1].to
        elif isinstance(page, StatesAnswer):
            self._moment = page.states[-1].to
        elif isinstance(page, LevelsAnswer):
            self._moment = page.levels[-1].to if page.levels else self._moment
        elif isinstance(page, DaysAnswer):
            self._moment = page.days[-1].to if page.days else self._moment
        else:
            new = tuple(sound for sound in page.sounds if self._key is None or self._key_of(sound) > self._key)
            if new:
                self._moment, self._key = new[-1].from_, self._key_of(new[-1])
            page = replace(page, sounds=new)
        return replace(page, from_=cast(Instant, self._asked.from_))

    def restarted(self) -> Request | None:
        """The request for what is left, without a cursor; None where nothing came, at all or since the last restart."""
        asked, moment = self._asked, self._moment
        if moment is None or (moment, self._key) == self._restarted_at:
            return None
        self._restarted_at = (moment, self._key)
        # the loudest sounds come anew from the first on
        start = asked.from_ if asked.type == "sounds" and asked.order != "time" else moment
        return replace(asked, id=new_id(), cursor=None, from_=start)

    def _key_of(self, sound: Sound) -> tuple[float, int, str]:
        return (-sound.lafmax if self._asked.order != "time" else 0.0, int(sound.from_), sound.sound_id)
