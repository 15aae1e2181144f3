"""`catalog verify` reports times at which nothing can have been recorded."""

from __future__ import annotations

import contextlib
from itertools import islice
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

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
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


def test_each_chunk_of_a_crowd_that_claims_one_moment_is_checked_once(tmp_path: Path, store: RunningStore) -> None:
    """As of a node that always starts at the same wrong time; more than are read at once."""
    spool, count = Spool(tmp_path / "spool", "porch"), 1_100
    spool.create()
    start = Instant.parse("2083-06-01T00:00:00Z")
    names = (f"20830601T000000Z-{a}{b}{c}a" for a in "abc" for b in _LETTERS for c in _LETTERS)
    with contextlib.closing(Catalog(tmp_path / "catalog.db")) as catalog:
        catalog.registration.add_chunks(
            [make_chunk(0, b"x", stream_id=name, start=start) for name in islice(names, count)]
        )
        findings = list(verify(S3Store(store.settings), "imhearing/", spool, catalog, now=NOW))
    assert len(findings) == 2 * count  # neither in the store nor in the spool, and a time that cannot be right
    assert len(set(findings)) == len(findings)
