"""Links to archives that work for a while, for those who hold no key of the store."""

from __future__ import annotations

import logging
import time
from functools import cached_property
from typing import TYPE_CHECKING

from edge.configuration.settings import Settings
from edge.core.errors import ImHearingError
from edge.core.values import Archive

if TYPE_CHECKING:
    from edge.store.s3 import S3Store

log = logging.getLogger(__name__)

_KEPT = 1_000


class Presigner:
    """Gives links that work for at least nine tenths of `[query] url_seconds`. One thread at a time."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._kept: dict[str, tuple[float, str]] = {}  # archive -> (monotonic time it was made, link)
        self._complained = False

    def __call__(self, archive: Archive) -> str | None:
        """None where no link can be made; the log says why, once."""
        now = time.monotonic()
        seconds = self._settings.query.url_seconds
        made, url = self._kept.get(archive.archive_id, (float("-inf"), ""))
        if now - made < seconds / 10:
            return url
        try:
            url = self._store.presigned_url(archive.bucket, archive.key, seconds)
        except ImHearingError as problem:
            if not self._complained:
                log.warning("answers carry no links: %s", problem)
            self._complained = True
            return None
        if len(self._kept) >= _KEPT:
            self._kept.pop(next(iter(self._kept)))
        self._kept[archive.archive_id] = (now, url)
        return url

    @cached_property
    def _store(self) -> S3Store:
        # 40 MB and a quarter of a second that only those pay who ask for links
        from edge.store.s3 import S3Store  # noqa: PLC0415

        return S3Store(self._settings.s3)
