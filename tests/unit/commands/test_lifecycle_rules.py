"""The bucket's lifecycle rules compared with `keep_remote`, and rules that abort unfinished uploads."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from commands.doctor.node_under_test import NodeUnderTest
from commands.doctor.store import check_lifecycle, check_unfinished
from edge.configuration.settings import S3, Archive, Node, Settings
from edge.core.kernel_clock import KernelClock
from edge.store.interface import LifecycleRule

OWN = "imhearing/porch/"
YEARS = f"{OWN}2"
CLIPS = LifecycleRule(f"{OWN}clips/", expire_days=7)
ABORT = LifecycleRule("imhearing/", abort_days=7)


def node(keep_remote: float = 0.0) -> NodeUnderTest:
    settings = replace(
        Settings(), node=Node(name="porch"), s3=S3(prefix="imhearing/"), archive=Archive(keep_remote=keep_remote)
    )
    return NodeUnderTest(settings, Path("/node"), None, False, KernelClock())


def expiring(days: int, prefix: str = YEARS) -> LifecycleRule:
    return LifecycleRule(prefix, expire_days=days)


@pytest.mark.parametrize(
    ("keep", "rules", "may_delete", "state", "expected"),
    [
        (0, [], True, "ok", "no bucket rule"),
        (0, [CLIPS, ABORT], False, "ok", "no bucket rule"),
        (0, [expiring(30, "imhearing/shed/2")], True, "ok", "no bucket rule"),
        (0, [expiring(30, "imhearing/porch-2/")], True, "ok", "no bucket rule"),
        (0, [expiring(30)], True, "fault", "after 30 days"),
        (0, [expiring(30, "")], True, "fault", "after 30 days"),
        (0, [expiring(30, f"{OWN}2026/")], True, "fault", "after 30 days"),
        (365, [], True, "ok", "the archiver deletes"),
        (365, [expiring(400)], True, "ok", "the archiver deletes"),
        (365, [expiring(365)], True, "ok", "the archiver deletes"),
        (365, [expiring(364)], True, "fault", "keep_remote is 365"),
        (365, [CLIPS, expiring(400), expiring(90, "imhearing/")], False, "fault", "after 90 days"),
        (365, [expiring(365)], False, "ok", "as set by keep_remote"),
        (365, [expiring(366)], False, "warning", "after 366 days, not 365"),
        (365, [CLIPS, ABORT], False, "warning", "archives are kept"),
        (365, [expiring(365, f"{OWN}2026/")], False, "warning", "archives are kept"),
        (0.5, [expiring(1)], True, "ok", "after 0.5 days"),
    ],
)
def test_bucket_rules_are_compared_with_keep_remote(
    keep: float, rules: list[LifecycleRule], may_delete: bool, state: str, expected: str
) -> None:
    found = check_lifecycle(node(keep), rules, may_delete=may_delete)
    assert (found.check, found.state) == ("store.lifecycle", state)
    assert expected in found.message
    assert bool(found.remedy) == (state != "ok")


def test_the_remedy_sets_keep_remote_to_the_buckets_days() -> None:
    assert "archive.keep_remote=30" in check_lifecycle(node(), [expiring(30)], may_delete=True).remedy
    assert "archive.keep_remote=366" in check_lifecycle(node(365), [expiring(366)], may_delete=False).remedy


@pytest.mark.parametrize(
    ("rules", "state"),
    [
        ([], "warning"),
        ([CLIPS, expiring(30)], "warning"),
        ([LifecycleRule(YEARS, abort_days=7)], "warning"),  # clips are uploaded too
        ([LifecycleRule("imhearing/shed/", abort_days=7)], "warning"),
        ([ABORT], "ok"),
        ([LifecycleRule("", abort_days=1)], "ok"),
        ([LifecycleRule(OWN, abort_days=1)], "ok"),
    ],
)
def test_a_missing_abort_rule_is_a_warning(rules: list[LifecycleRule], state: str) -> None:
    found = check_unfinished(node(), rules)
    assert (found.check, found.state, bool(found.remedy)) == ("store.unfinished", state, state != "ok")


@given(
    keep=st.integers(0, 400),
    days=st.lists(st.integers(1, 400)),
    prefix=st.integers(0, len(YEARS)).map(lambda length: YEARS[:length]),
    may_delete=st.booleans(),
)
def test_deletion_before_keep_remote_is_always_a_fault(
    keep: int, days: list[int], prefix: str, may_delete: bool
) -> None:
    found = check_lifecycle(node(keep), [expiring(day, prefix) for day in days], may_delete=may_delete)
    assert (found.state == "fault") == any(not keep or day < keep for day in days)
