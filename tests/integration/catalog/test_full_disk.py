"""A full disk does not keep the catalog from recording what may be deleted."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.archiver.plan.plan import Destination, make_plan
from edge.catalog import Catalog, CatalogReader
from edge.catalog.file import RESERVE
from edge.core.errors import CatalogError
from edge.core.instant import FIRST, LAST, Instant
from tests.support.spool.chunks import STREAM, audio_bytes, make_chunk, make_stream


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", folder], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("no small disk can be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def _fill(folder: Path) -> None:
    """To the last byte, as somebody else would."""
    with contextlib.suppress(OSError), (folder / "others").open("wb", buffering=0) as file:
        while file.write(b"x" * 4096):
            pass
    assert os.statvfs(folder).f_bavail == 0


def _commit_large_plan(catalog: Catalog) -> str:
    chunks = [make_chunk(seq, audio_bytes(seq)) for seq in range(50)]
    catalog.registration.put_stream(make_stream())
    catalog.registration.add_chunks(chunks)
    plan = make_plan(chunks, catalog.streams([STREAM]), Destination("bucket", "imhearing/", "porch"))
    catalog.plans.commit(plan.archive(Instant(1)), plan.members, plan.manifest)
    return plan.archive_id


def test_the_catalog_still_commits_on_a_full_disk(small_disk: Path) -> None:
    path = small_disk / "catalog.db"
    with contextlib.closing(Catalog(path)) as catalog:
        archive_id = _commit_large_plan(catalog)
        assert path.with_name("catalog.db.reserve").stat().st_blocks * 512 >= RESERVE
        _fill(small_disk)
        catalog.plans.mark_uploaded(archive_id, "0" * 64, Instant(2))
        assert all(row.where for row in catalog.chunks_between(FIRST, LAST, 99))
        assert not path.with_name("catalog.db.reserve").exists()
        (small_disk / "others").unlink()
        catalog.archive_records.uploaded_ids()
        assert path.with_name("catalog.db.reserve").exists()


def test_without_its_reserve_the_catalog_cannot_commit_on_a_full_disk(small_disk: Path) -> None:
    """What the test above proves nothing without."""
    path = small_disk / "catalog.db"
    with contextlib.closing(Catalog(path)) as catalog:
        archive_id = _commit_large_plan(catalog)
        _fill(small_disk)
        path.with_name("catalog.db.reserve").unlink()
        _fill(small_disk)
        with pytest.raises(CatalogError):
            catalog.plans.mark_uploaded(archive_id, "0" * 64, Instant(2))
    with contextlib.closing(CatalogReader(path)) as reader:
        assert not any(row.where for row in reader.chunks_between(FIRST, LAST, 99))
