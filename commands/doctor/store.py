"""The object store: writes, reads back, reads a range, follows a link, deletes: all that the node will do."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import urllib.error
from collections.abc import Iterator
from urllib.parse import urlsplit

from commands.doctor import lifecycle
from commands.doctor.clock import open_address, reach_store, store_address
from commands.doctor.finding import Finding, Patient, fault, ok, warning
from edge.core.errors import StoreBlocked, StoreError, StoreUnreachable
from edge.store.s3 import S3Store

_CONNECT_SECONDS, _READ_SECONDS = 3.0, 6.0
_LINK_SECONDS = 60


def look(patient: Patient) -> Iterator[Finding]:
    """Leaves nothing behind where it may delete."""
    settings = patient.settings.s3
    if not settings.s3_bucket_name:
        yield warning(
            "store.bucket",
            "no bucket is named: nothing is archived, unless `imhearing up` serves a folder",
            patient.configure("s3.s3_bucket_name=BUCKET"),
        )
        return
    storage = S3Store(settings, connect_timeout=_CONNECT_SECONDS, read_timeout=_READ_SECONDS)
    key = f"{settings.prefix}{patient.settings.node.name}/doctor/{secrets.token_hex(8)}"
    body = secrets.token_bytes(1_000)
    written = can_be_written(patient, storage, key, body)
    yield written
    if written.state == "fault":
        return
    yield can_be_read(storage, key, body)
    yield link_works(patient, storage, key, body)
    deleted = can_be_deleted(storage, key)
    yield deleted
    yield from lifecycle.look(patient, storage, may_delete=deleted.state == "ok")


def can_be_written(patient: Patient, storage: S3Store, key: str, body: bytes) -> Finding:
    check = "store.write"
    try:
        storage.put(key, body, hashlib.md5(body).hexdigest(), media_type="application/octet-stream")  # noqa: S324 - asked for
    except StoreBlocked as problem:
        return fault(check, str(problem), _mend(patient, problem.reason, str(problem)))
    except StoreUnreachable as problem:
        return fault(check, str(problem).removesuffix("; trying again"), reach_store(patient))
    except StoreError as problem:
        return fault(check, str(problem), f"curl -sv {store_address(patient.settings.s3)} 2>&1 | tail -20")
    return ok(check, f"{patient.settings.s3.s3_bucket_name} takes what we write, and checks its MD5")


def can_be_read(storage: S3Store, key: str, body: bytes) -> Finding:
    """Whole, and a range out of the middle: sound is fetched so."""
    check = "store.read"
    try:
        found = storage.head(key)
        if found is None or found.size != len(body):
            return fault(check, "what was written is not there, or of another size", _documented("s3:GetObject"))
        if b"".join(storage.read(key, 0, len(body))) != body:
            return fault(check, "what was written comes back changed", "use another store: this one damages data")
        if b"".join(storage.read(key, 100, 50)) != body[100:150]:
            return fault(check, "a byte range comes back wrong", "use another store: sound is fetched by ranges")
    except StoreError as problem:
        return fault(check, str(problem), _documented("s3:GetObject"))
    return ok(check, "what was written comes back, whole and by byte range")


def link_works(patient: Patient, storage: S3Store, key: str, body: bytes) -> Finding:
    """Whoever asks for sound gets such a link."""
    check, settings = "store.link", patient.settings.s3
    public = settings.public_endpoint_url
    away = patient.configure("s3.public_endpoint_url=") if public else patient.configure("s3.s3_region=REGION")
    try:
        url = storage.presigned_url(settings.s3_bucket_name, key, _LINK_SECONDS)
        with open_address(url, _CONNECT_SECONDS) as answer:
            if answer.read(len(body) + 1) != body:
                return fault(check, f"a link to {urlsplit(url).netloc} gives something else", away)
    except urllib.error.HTTPError as refusal:
        refusal.close()
        return fault(check, f"{public or store_address(settings)} refuses its own link ({refusal.code})", away)
    except (StoreError, OSError, ValueError) as problem:
        return fault(check, f"a link to {public or store_address(settings)} leads nowhere ({problem})", away)
    return ok(check, f"a link to {urlsplit(url).netloc} works")


def can_be_deleted(storage: S3Store, key: str) -> Finding:
    """Only `imhearing forget` needs it: a key without this right is the safer one."""
    check = "store.delete"
    with contextlib.suppress(StoreError):
        storage.delete(key)
        if storage.head(key) is None:
            return ok(check, "what was written is deleted again")
    return warning(
        check,
        f"the key may not delete: {key} stays, and `imhearing forget` will not work; all else does",
        _documented("s3:DeleteObject"),
    )


def _mend(patient: Patient, reason: str, told: str) -> str:
    address = store_address(patient.settings.s3)
    both = patient.configure("s3.access_key_id=-", "s3.secret_access_key=-")
    remedies = {
        "no_bucket": patient.command("make-bucket"),
        "no_credentials": both,
        "clock_skew": "sudo timedatectl set-ntp true",
        "store_full": "make room in the store, or rent more",
        "tls": f"curl -sv {address} -o /dev/null  # what is wrong with its certificate, or with our clock",
        "bad_settings": patient.configure("s3.s3_bucket_name=BUCKET", "s3.endpoint_url=https://HOST"),
    }
    if reason == "denied" and ("access_key_id" in told or "secret_access_key" in told):
        return both
    return remedies.get(reason, _documented("s3:PutObject"))


def _documented(right: str) -> str:
    return f"give the key the right {right} on the bucket's prefix: docs/security.md has the policy to copy"
