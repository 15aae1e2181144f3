"""The clock: is it synchronised, and how far is it from the store's?"""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from email.utils import parsedate_to_datetime

from commands.doctor.finding import Finding, fault, ok, warning
from commands.doctor.node_under_test import NodeUnderTest
from commands.doctor.probes import open_url, reach_store, store_url
from edge.configuration.schedule import schedule_of
from edge.core.instant import Instant

_ENABLE_NTP = "sudo timedatectl set-ntp true"
_TIMEOUT = 3.0
_MAX_OFFSET = 900.0  # seconds: S3 rejects requests signed by a clock further off
_NOTABLE_OFFSET = 5.0  # seconds; a Date header has a resolution of one
_FIRST_YEAR = 2025


def check_clock(node: NodeUnderTest) -> Iterator[Finding]:
    yield check_synchronised(node)
    if node.settings.s3.s3_bucket_name:
        yield check_offset(node)
    if node.settings.recorder.schedule:
        yield check_schedule(node)


def check_schedule(node: NodeUnderTest) -> Finding:
    schedule = schedule_of(node.settings).at(node.kernel.now())
    state = "recording" if schedule.on else "paused"
    return ok("clock.schedule", f"scheduled: {state} until {schedule.until.datetime().astimezone():%d %b %H:%M}")


def check_synchronised(node: NodeUnderTest) -> Finding:
    check, now = "clock.synchronised", node.kernel.now()
    if node.kernel.synchronised():
        return ok(check, f"synchronised, {now.datetime():%Y-%m-%d %H:%M:%S} UTC")
    if now.datetime().year < _FIRST_YEAR:
        return fault(check, f"the clock shows {now.datetime():%Y-%m-%d}; recordings get wrong times", _ENABLE_NTP)
    return warning(check, "not synchronised: until it is, times are marked uncertain", _ENABLE_NTP)


def check_offset(node: NodeUnderTest) -> Finding:
    """Compares with the Date header (RFC 9110) of any response, so that neither key nor bucket matter."""
    check, url = "clock.offset", store_url(node.settings.s3)
    try:
        date = _date_of(url)
    except OSError as problem:
        return warning(check, f"{url} does not respond ({problem})", reach_store(node))
    except ValueError as problem:
        return warning(check, f"{url} does not tell the time ({problem})", f"curl -sI {url}; date -u  # compare")
    offset = (node.kernel.now() - date) / 1e6
    message = f"the clock is {abs(offset):.0f} s {'ahead of' if offset > 0 else 'behind'} the store's"
    if abs(offset) >= _MAX_OFFSET:
        return fault(check, f"{message}, which rejects more than 15 minutes", _ENABLE_NTP)
    if abs(offset) >= _NOTABLE_OFFSET:
        return warning(check, message, _ENABLE_NTP)
    return ok(check, "agrees with the store's clock")


def _date_of(url: str) -> Instant:
    try:
        with open_url(url, _TIMEOUT) as answer:
            date = answer.headers.get("Date", "")
    except urllib.error.HTTPError as refusal:  # an error response has a Date too
        date = refusal.headers.get("Date", "")
        refusal.close()
    try:
        return Instant.from_seconds(parsedate_to_datetime(date).timestamp())
    except (TypeError, ValueError):
        raise ValueError("no Date header") from None
