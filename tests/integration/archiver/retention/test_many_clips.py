"""A bucket with more clips than one listing names: `forget` deletes those of its range as it reads the listing."""

from __future__ import annotations

import contextlib
from pathlib import Path

from edge.catalog import Catalog
from edge.configuration.settings import Settings
from edge.core.instant import Instant
from edge.spool.spool import Spool
from edge.store.s3 import S3Store
from tests.support.archiver.parts import make_deletions
from tests.support.store.fault_proxy import running_proxy
from tests.support.store.s3 import RunningStore

CLIPS = 1_100  # of each day; a listing names 1,000


def test_clips_are_deleted_page_by_page_instead_of_after_the_whole_listing(
    tmp_path: Path, settings: Settings, store: RunningStore
) -> None:
    folder = store.folder / "imhearing/porch/clips"
    folder.mkdir(parents=True)
    for day in ("20260303", "20260304"):
        for number in range(CLIPS):
            (folder / f"{day}T220000Z-{number:08x}.wav").write_bytes(b"")
    with (
        running_proxy(store.settings) as (proxy, through),
        contextlib.closing(Catalog(settings.catalog.db_path)) as catalog,
    ):
        gate = make_deletions(Spool(tmp_path / "spool", "porch"), catalog, S3Store(through))
        gate.delete_clips(
            "imhearing/porch/clips/", Instant.parse("2026-03-03T22:00:00Z"), Instant.parse("2026-03-03T22:10:00Z")
        )
        names = proxy.names()
    assert names[:2] == ["GET list", "DELETE"]
    assert names.count("GET list") == 3
    assert [path.name[:8] for path in folder.iterdir()] == CLIPS * ["20260304"]
