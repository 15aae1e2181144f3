"""What the spool and the catalog say about the node that `up` runs. Messages may be missed, and the broker away."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import NamedTuple

from edge.catalog import CatalogReader
from edge.configuration.settings import Settings
from edge.core.errors import CatalogError, SpoolError
from edge.core.instant import Instant
from edge.messaging.events import RecorderState
from edge.spool.spool import Spool


class LocalFacts(NamedTuple):
    """`waiting` chunks (`waiting_bytes`) are on the node alone; `archived` ones are in `archives` in the store."""

    recorder: RecorderState | None = None  # as it noted in the spool: without a reason
    last_until: Instant | None = None  # the end of the newest chunk of the stream being recorded
    waiting: int = 0
    waiting_bytes: int = 0
    archived: int = 0
    archives: int = 0

    @property
    def chunks(self) -> int:
        return self.waiting + self.archived


class LocalFactsReader:
    """Reads them again when they have changed. One thread."""

    def __init__(self, settings: Settings) -> None:
        self._spool = Spool(settings.recorder.record_path, settings.node.name)
        self._catalog = CatalogReader(settings.catalog.db_path)
        self._spool_changed: int | None = None
        self._catalog_changed: int | None = None
        self._facts = LocalFacts()

    def read(self) -> LocalFacts:
        """What cannot be read now stays as it was."""
        with contextlib.suppress(SpoolError):
            self._read_spool()
        with contextlib.suppress(CatalogError):  # being created or written
            self._read_catalog()
        return self._facts

    def _read_spool(self) -> None:
        changed = _changed_at(self._spool.path)
        if changed is None or changed == self._spool_changed:
            return
        waiting = [file.bytes for file in self._spool.chunks.finished().values() if not file.is_retained]
        recorder, last_until = self._recorder()
        self._facts = self._facts._replace(
            recorder=recorder, last_until=last_until, waiting=len(waiting), waiting_bytes=sum(waiting)
        )
        self._spool_changed = changed

    def _recorder(self) -> tuple[RecorderState | None, Instant | None]:
        state = self._spool.state.read()
        if state is None:
            return None, None
        device = None
        if state.stream_id is not None:
            with contextlib.suppress(SpoolError):
                device = self._spool.streams.read(state.stream_id).device
        recorder = RecorderState(
            at=state.since,
            node=self._spool.node,
            state=state.state,
            since=state.since,
            until=state.until,
            device=device,
        )
        return recorder, state.knot[1] if state.knot and state.knot[0] else None

    def _read_catalog(self) -> None:
        changed = _changed_at(self._catalog.path)
        if changed is None or changed == self._catalog_changed:
            return
        archives, chunks = self._catalog.archive_records.uploaded_totals()
        self._facts = self._facts._replace(archives=archives, archived=chunks)
        self._catalog_changed = changed


def _changed_at(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None
