"""What a store's reply says, beyond the operation: its kind, its clock, its lifecycle rules. Pure."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import Any

from edge.core.instant import Instant
from edge.store.interface import LifecycleRule


def is_page(headers: Any) -> bool:
    """Of a web server; stores answer in XML, or with objects that are no pages."""
    return str(headers.get("content-type", "")).startswith("text/html")


def lifecycle_rules(rules: Any) -> list[LifecycleRule]:
    """The enabled ones, except those for certain tags or sizes."""
    return [
        _lifecycle_rule(rule)
        for rule in rules
        if rule.get("Status") == "Enabled" and not rule.get("Filter", {}).keys() - {"Prefix"}
    ]


def _lifecycle_rule(rule: Any) -> LifecycleRule:
    """S3 has two ways to write a prefix; the older one is in the rule itself."""
    return LifecycleRule(
        prefix=rule.get("Filter", {}).get("Prefix") or rule.get("Prefix") or "",
        expire_days=rule.get("Expiration", {}).get("Days"),
        abort_days=rule.get("AbortIncompleteMultipartUpload", {}).get("DaysAfterInitiation"),
    )


def clock_offset(response: Any, now: Instant) -> float | None:
    """Seconds by which our clock is ahead of the store's, by the answer's Date header (RFC 9110)."""
    return seconds_ahead(response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", ""), now)


def seconds_ahead(date: str, now: Instant) -> float | None:
    try:
        return (now.datetime() - parsedate_to_datetime(date)).total_seconds()
    except (ValueError, TypeError):
        return None


def skew(offset: float | None) -> str:
    if offset is None:
        return "our clock differs from the store's by more than it allows"
    # to ten seconds, so that one reason keeps its words
    return f"our clock is {round(abs(offset), -1):.0f} s {'ahead of' if offset > 0 else 'behind'} the store's"


def brief(problem: object) -> str:
    """On one line; for an exception without text, its name."""
    return " ".join(str(problem).split())[:300] or (type(problem).__name__ if isinstance(problem, Exception) else "")
