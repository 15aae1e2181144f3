"""The answer to `status`."""

from __future__ import annotations

import contextlib
from pathlib import Path

from edge.catalog import Catalog
from edge.core.instant import Instant
from edge.spool.spool import Spool
from query_service.answer.facts import FactReader
from query_service.answer.status import status_report
from tests.support.spool.chunks import fill_spool


def test_retained_copies_of_uploaded_chunks_do_not_count_as_waiting(tmp_path: Path) -> None:
    waiting, uploaded = sorted(fill_spool(tmp_path / "spool", 2))
    spool = Spool(tmp_path / "spool", "porch")
    spool.chunks.mark_retained(uploaded)

    with contextlib.closing(Catalog(tmp_path / "catalog.db")) as catalog:
        catalog.open()
        report = status_report("1", "porch", FactReader(spool, catalog), Instant(1_000_000), uptime=1.0)

    assert report.spool is not None
    assert report.spool.chunks == 1
    assert report.spool.bytes == spool.chunks.finished()[waiting].bytes
