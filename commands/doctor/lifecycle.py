"""The bucket's lifecycle rules compared with `[archive] keep_remote`: neither may delete what the other keeps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from commands.doctor.finding import Finding, fault, ok, warning
from commands.doctor.node_under_test import NodeUnderTest
from edge.core.errors import StoreError
from edge.store.interface import LifecycleRule
from edge.store.s3 import S3Store

_ADD_RULE = "add the rule from docs/storage.md, Lifecycle rules, to the bucket"


def check_lifecycle_rules(node: NodeUnderTest, storage: S3Store, *, may_delete: bool) -> Iterator[Finding]:
    """A store that does not reveal its rules is not at fault."""
    try:
        rules = storage.lifecycle()
    except StoreError as problem:
        yield ok("store.lifecycle", f"the bucket's lifecycle rules cannot be read ({problem})")
        return
    yield check_lifecycle(node, rules, may_delete=may_delete)
    yield check_unfinished(node, rules)


def check_lifecycle(node: NodeUnderTest, rules: Sequence[LifecycleRule], *, may_delete: bool) -> Finding:
    """Whether archives are deleted after `keep_remote` days (0: never). `may_delete`: the archiver may do so itself."""
    check, keep = "store.lifecycle", node.settings.archive.keep_remote
    archives = f"{_node_prefix(node)}2"  # the prefix of all years, but not of clips and corrections
    touching = [
        rule.expire_days
        for rule in rules
        if rule.expire_days is not None and (archives.startswith(rule.prefix) or rule.prefix.startswith(archives))
    ]
    if touching and (not keep or min(touching) < keep):
        expected = f"{keep:g} days" if keep else "0 (never)"
        return fault(
            check,
            f"the bucket deletes archives after {min(touching)} days, but keep_remote is {expected}:"
            " answers would list deleted archives",
            node.configure(f"archive.keep_remote={min(touching)}"),
        )
    if not keep:
        return ok(check, "no bucket rule deletes archives")
    if may_delete:
        return ok(check, f"the archiver deletes archives after {keep:g} days, and no bucket rule does so earlier")
    covering = [rule.expire_days for rule in rules if rule.expire_days and archives.startswith(rule.prefix)]
    if not covering:
        message = f"keep_remote is {keep:g} days, but neither the key nor a bucket rule can delete: archives are kept"
        return warning(check, message, _ADD_RULE)
    if min(covering) > keep:
        return warning(
            check,
            f"the key may not delete, and the bucket deletes after {min(covering)} days, not {keep:g}",
            node.configure(f"archive.keep_remote={min(covering)}"),
        )
    return ok(check, f"a bucket rule deletes archives after {min(covering)} days, as set by keep_remote")


def check_unfinished(node: NodeUnderTest, rules: Sequence[LifecycleRule]) -> Finding:
    """Whether the parts of abandoned uploads, which cost money, are deleted eventually."""
    check = "store.unfinished"
    days = [rule.abort_days for rule in rules if rule.abort_days and _node_prefix(node).startswith(rule.prefix)]
    if days:
        return ok(check, f"a bucket rule aborts unfinished uploads after {min(days)} days")
    message = "no bucket rule aborts unfinished uploads: those of a lost node cost money for ever"
    return warning(check, message, _ADD_RULE)


def _node_prefix(node: NodeUnderTest) -> str:
    """The prefix of all keys of this node."""
    return f"{node.settings.s3.prefix}{node.settings.node.name}/"
