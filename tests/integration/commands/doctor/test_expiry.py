"""Archives that are kept beyond `keep_remote`, and sound from the future: doctor says so."""

from __future__ import annotations

import contextlib

import pytest

from edge.archiver.plan.plan import Destination, make_plan
from edge.catalog import Catalog
from edge.core.instant import Instant
from tests.support.nodes.breakable_node import BreakableNode
from tests.support.nodes.doctor import assert_ok
from tests.support.spool.chunks import SECOND, make_chunk
from tests.support.store.s3 import RunningStore

DAY = 86_400 * SECOND


@pytest.fixture
def expiring(node: BreakableNode, store: RunningStore) -> BreakableNode:
    """An archive was uploaded 40 days ago."""
    node.set_store(store.settings)
    node.set("archive.keep_remote=30")
    then = Instant(node.clock.now() - 40 * DAY)
    plan = make_plan([make_chunk(0, b"x")], {}, Destination(store.settings.s3_bucket_name, "imhearing/", "porch"))
    with contextlib.closing(Catalog(node.under_test().settings.catalog.db_path)) as catalog:
        catalog.registration.restore_archive(plan.archive(then), plan.members)
        catalog.plans.mark_uploaded(plan.archive_id, "0" * 64, then)
    return node


@pytest.mark.parametrize(
    ("synchronised", "offset", "reason"),
    [
        (False, 0.0, "still kept: the clock is not synchronised"),
        (True, 600.0, "s ahead of the store's"),
        (True, 0.0, "deletes only a part of them each day"),
    ],
)
def test_doctor_says_why_archives_are_kept_beyond_their_age(
    expiring: BreakableNode, synchronised: bool, offset: float, reason: str
) -> None:
    expiring.clock.is_synchronised, expiring.clock.offset = synchronised, offset
    found = expiring.run_checks("store")["store.expiry"]
    assert found.state == "warning"
    assert found.message.startswith("1 archive older than keep_remote (30 days)")
    assert reason in found.message


def test_doctor_is_content_while_no_archive_is_kept_for_too_long(expiring: BreakableNode) -> None:
    expiring.set("archive.keep_remote=39.5")
    assert_ok(expiring.run_checks("store")["store.expiry"])


def test_doctor_reports_sound_from_the_future(node: BreakableNode) -> None:
    chunk = make_chunk(0, b"x")
    with contextlib.closing(Catalog(node.under_test().settings.catalog.db_path)) as catalog:
        catalog.registration.add_chunks([chunk])
    assert_ok(node.run_checks("catalog")["catalog.times"])
    node.clock.offset = (chunk.started_at - node.clock.now()) / 1e6 - 2 * 86_400
    assert node.run_checks("catalog")["catalog.times"].state == "warning"
