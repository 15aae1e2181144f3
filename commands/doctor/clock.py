"""The clock: whether the kernel calls it synchronised, and how far it is from the store's."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from http.client import HTTPResponse
from urllib.parse import urlsplit

from commands.doctor.finding import Finding, Patient, fault, ok, warning
from edge.configuration.schedule import schedule_of
from edge.configuration.settings import S3
from edge.core.instant import Instant

_SET = "sudo timedatectl set-ntp true"
_SECONDS = 3.0
_REFUSED_FROM = 900.0  # seconds: an S3 service refuses what was signed by a clock further off
_NOTABLE = 5.0  # seconds; a Date header has whole ones
_FIRST_YEAR = 2025
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


def look(patient: Patient) -> Iterator[Finding]:
    yield is_synchronised(patient)
    if patient.settings.s3.s3_bucket_name:
        yield agrees_with_store(patient)
    if patient.settings.recorder.schedule:
        yield what_the_schedule_says(patient)


def what_the_schedule_says(patient: Patient) -> Finding:
    now = patient.kernel.now()
    answer = schedule_of(patient.settings).at(now)
    words = "time to record" if answer.on else "paused"
    return ok(
        "clock.schedule", f"by the schedule it is {words} until {answer.until.datetime().astimezone():%d %b %H:%M}"
    )


def is_synchronised(patient: Patient) -> Finding:
    check, now = "clock.synchronised", patient.kernel.now()
    if patient.kernel.synchronised():
        return ok(check, f"synchronised, {now.datetime():%Y-%m-%d %H:%M:%S} UTC")
    if now.datetime().year < _FIRST_YEAR:
        return fault(check, f"the clock shows {now.datetime():%Y-%m-%d}; times of what is recorded are wrong", _SET)
    return warning(check, "not synchronised: times are marked uncertain until it is", _SET)


def agrees_with_store(patient: Patient) -> Finding:
    """By the Date header of any answer (RFC 9110), so that neither key nor bucket matter here."""
    check, address = "clock.offset", store_address(patient.settings.s3)
    try:
        date = _date_of(address)
    except OSError as problem:
        return warning(check, f"{address} does not answer ({problem})", reach_store(patient))
    except ValueError as problem:
        return warning(check, f"{address} tells no time ({problem})", f"curl -sI {address}; date -u  # compare")
    offset = (patient.kernel.now() - date) / 1e6
    told = f"{abs(offset):.0f} s {'ahead of' if offset > 0 else 'behind'} the store's"
    if abs(offset) >= _REFUSED_FROM:
        return fault(check, f"our clock is {told}, which refuses more than 15 minutes", _SET)
    if abs(offset) >= _NOTABLE:
        return warning(check, f"our clock is {told}", _SET)
    return ok(check, "agrees with the store's")


def store_address(s3: S3) -> str:
    return s3.endpoint_url or f"https://s3.{s3.s3_region}.amazonaws.com"


def reach_store(patient: Patient) -> str:
    """What to do where nobody answers there."""
    address = store_address(patient.settings.s3)
    if patient.by_up and urlsplit(address).hostname in _LOOPBACK:
        return patient.up()
    if urlsplit(address).hostname in _LOOPBACK:
        return f"start the store, or name another: {patient.configure('s3.endpoint_url=https://HOST')}"
    return (
        f"ping -c 3 {urlsplit(address).hostname}  # is there a network? else: {patient.configure('s3.endpoint_url=')}"
    )


def open_address(url: str, seconds: float) -> HTTPResponse:
    """GET of an http(s) address; a proxy of the environment is not used for our own machine. OSError, ValueError."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        raise ValueError("no http address")
    proxies = urllib.request.ProxyHandler({} if parts.hostname in _LOOPBACK else None)
    opened: HTTPResponse = urllib.request.build_opener(proxies).open(url, timeout=seconds)
    return opened


def _date_of(url: str) -> Instant:
    try:
        with open_address(url, _SECONDS) as answer:
            date = answer.headers.get("Date", "")
    except urllib.error.HTTPError as refusal:  # it said no, and when
        date = refusal.headers.get("Date", "")
        refusal.close()
    try:
        return Instant.from_seconds(parsedate_to_datetime(date).timestamp())
    except (TypeError, ValueError):
        raise ValueError("its answer has no Date") from None
