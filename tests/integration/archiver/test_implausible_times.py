"""`catalog verify` reports times at which nothing can have been recorded."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from msgspec.structs import replace

from edge.archiver.intake import Intake
from edge.archiver.verify import verify
from edge.catalog import Catalog
from edge.core.instant import Instant
from edge.spool.spool import Spool
from edge.store.s3 import S3Store
from tests.support.spool.chunks import SECOND, audio_bytes, fill_spool, make_chunk, make_stream, put_chunk
from tests.support.store.s3 import RunningStore

NOW = Instant.parse("2026-11-28T00:00:00Z")


@pytest.mark.parametrize(
    ("start", "uncertain", "found"),
    [
        ("2083-06-01T00:00:00Z", False, 1),
        ("2083-06-01T00:00:00Z", True, 1),
        ("1970-01-01T00:00:10Z", False, 1),
        ("1970-01-01T00:00:10Z", True, 0),  # a clock without a battery, before it was set
        ("2026-11-27T00:00:00Z", False, 0),
    ],
)
def test_times_at_which_nothing_can_have_been_recorded_are_found(
    tmp_path: Path, store: RunningStore, start: str, uncertain: bool, found: int
) -> None:
    fill_spool(tmp_path / "spool", 1)
    spool, data, at = Spool(tmp_path / "spool", "porch"), audio_bytes(1), Instant.parse(start)
    chunk = replace(make_chunk(1, data, uncertain=uncertain), started_at=at, ended_at=Instant(at + SECOND))
    spool.streams.write(make_stream(uncertain=uncertain))
    put_chunk(spool, chunk, data)
    with contextlib.closing(Catalog(tmp_path / "catalog.db")) as catalog:
        Intake(spool, catalog).rescan()
        findings = list(verify(S3Store(store.settings), "imhearing/", spool, catalog, now=NOW))
    assert len(findings) == found
    assert all("cannot be right" in finding for finding in findings)
