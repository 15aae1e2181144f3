"""The bucket's own rules against `[archive] keep_remote`: neither must delete what the other believes to be kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from commands.doctor.finding import Finding, Patient, fault, ok, warning
from edge.core.errors import StoreError
from edge.store.s3 import S3Store
from edge.store.values import LifecycleRule

_RULES = "give the bucket the rule of docs/storage.md, under Lifecycle rules"


def look(patient: Patient, storage: S3Store, *, may_delete: bool) -> Iterator[Finding]:
    """A store that does not show its rules is none the worse for it."""
    try:
        rules = storage.lifecycle()
    except StoreError as problem:
        yield ok("store.lifecycle", f"the bucket's lifecycle rules cannot be seen ({problem})")
        return
    yield expiry(patient, rules, may_delete=may_delete)
    yield unfinished(patient, rules)


def expiry(patient: Patient, rules: Sequence[LifecycleRule], *, may_delete: bool) -> Finding:
    """Whether archives go when `keep_remote` (days, 0: never) says so. `may_delete`: the archiver can do it itself."""
    check, keep = "store.lifecycle", patient.settings.archive.keep_remote
    archives = f"{_own(patient)}2"  # what all years begin with, and neither clips nor corrections do
    touching = [
        rule.expire_days
        for rule in rules
        if rule.expire_days is not None and (archives.startswith(rule.prefix) or rule.prefix.startswith(archives))
    ]
    if touching and (not keep or min(touching) < keep):
        told = f"keep_remote is {keep:g}" if keep else "keep_remote is 0, which is for ever"
        return fault(
            check,
            f"the bucket deletes archives after {min(touching)} days, and answers would go on naming them: {told}",
            patient.configure(f"archive.keep_remote={min(touching)}"),
        )
    if not keep:
        return ok(check, "no rule of the bucket deletes archives")
    if may_delete:
        return ok(check, f"the archiver deletes archives after {keep:g} days, and no rule of the bucket does so before")
    whole = [rule.expire_days for rule in rules if rule.expire_days and archives.startswith(rule.prefix)]
    if not whole:
        told = f"keep_remote is {keep:g} days, but the key may not delete and no rule of the bucket does: archives stay"
        return warning(check, told, _RULES)
    if min(whole) > keep:
        return warning(
            check,
            f"the key may not delete, and the bucket does so after {min(whole)} days, not {keep:g}",
            patient.configure(f"archive.keep_remote={min(whole)}"),
        )
    return ok(check, f"a rule of the bucket deletes archives after {min(whole)} days, as keep_remote says")


def unfinished(patient: Patient, rules: Sequence[LifecycleRule]) -> Finding:
    """Whether the parts of an upload that nobody finishes, which cost money, go some day."""
    check = "store.unfinished"
    days = [rule.abort_days for rule in rules if rule.abort_days and _own(patient).startswith(rule.prefix)]
    if days:
        return ok(check, f"a rule of the bucket ends uploads that nobody finishes after {min(days)} days")
    told = "no rule of the bucket ends uploads that nobody finishes: those of a node that was lost cost money for ever"
    return warning(check, told, _RULES)


def _own(patient: Patient) -> str:
    """What all keys of this node begin with."""
    return f"{patient.settings.s3.prefix}{patient.settings.node.name}/"
