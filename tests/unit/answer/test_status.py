"""The answer to `status`."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from edge.archiver.plan.plan import Destination, make_plan
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


def test_status_says_when_the_last_upload_was_and_how_long_the_disk_lasts(tmp_path: Path) -> None:
    names = sorted(fill_spool(tmp_path / "spool", 2))
    spool = Spool(tmp_path / "spool", "porch")
    uploaded, newest = (spool.chunks.manifest(name) for name in names)
    now, verified = Instant(newest.ended_at + 1), Instant(newest.ended_at - 7)

    with contextlib.closing(Catalog(tmp_path / "catalog.db")) as catalog:
        catalog.open()
        catalog.registration.add_chunks([uploaded])
        plan = make_plan([uploaded], {}, Destination("bucket", "p/", "porch"))
        catalog.plans.commit(plan.archive(now), plan.members, plan.manifest)
        catalog.plans.mark_uploaded(plan.archive_id, "0" * 64, verified)
        report = status_report("1", "porch", FactReader(spool, catalog), now, uptime=1.0)

    assert report.last_upload == verified
    assert report.disk_free is not None
    assert report.disk_hours_left == pytest.approx(
        report.disk_free / newest.bytes / 3_600, abs=0.1
    )  # chunks of a second
