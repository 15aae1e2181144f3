"""The object store: does all that the node needs work? Do the bucket's lifecycle rules fit `[archive] keep_remote`?"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import socket
import urllib.error
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from commands.doctor.node_under_test import Finding, NodeUnderTest, fault, ok, open_url, warning
from commands.show.formats import count
from edge.archiver.retention.age_check import clock_doubt
from edge.catalog.holds import read_holds
from edge.core.errors import ImHearingError, StoreBlocked, StoreError, StoreUnreachable
from edge.core.instant import MICROSECONDS, Instant
from edge.store.bucket import read_lifecycle_rules
from edge.store.interface import LifecycleRule
from edge.store.s3 import S3Store

_CONNECT_TIMEOUT, _READ_TIMEOUT = 3.0, 6.0
_LINK_SECONDS = 60
_MANY = 10_000  # archives that are counted
_CORRUPTS = "use another store: this one corrupts data"
_ADD_RULE = "add the rule from docs/storage.md, Lifecycle rules, to the bucket"


def check_store(node: NodeUnderTest) -> Iterator[Finding]:
    """Leaves nothing behind, if the key may delete."""
    settings = node.settings.s3
    if not settings.s3_bucket_name:
        yield warning(
            "store.bucket",
            "no bucket is configured: nothing is archived, unless `imhearing up` serves a local folder",
            node.configure("s3.s3_bucket_name=BUCKET"),
        )
        return
    storage = S3Store(settings, connect_timeout=_CONNECT_TIMEOUT, read_timeout=_READ_TIMEOUT, now=node.kernel.now)
    key = f"{settings.prefix}{node.settings.node.name}/doctor/{secrets.token_hex(8)}"
    body = secrets.token_bytes(1_000)
    written = check_write(node, storage, key, body)
    yield written
    if written.state == "fault":
        return
    yield check_region(node, storage)
    yield check_read(storage, key, body)
    yield check_read_back(node, storage, key)
    yield check_link(node, storage, key, body)
    deleted = check_delete(storage, key)
    yield deleted
    yield from check_lifecycle_rules(node, storage, may_delete=deleted.state == "ok")
    if node.settings.archive.keep_remote and deleted.state == "ok":
        yield check_expiry(node, storage)


def check_write(node: NodeUnderTest, storage: S3Store, key: str, body: bytes) -> Finding:
    check = "store.write"
    try:
        storage.put(key, body, hashlib.md5(body).hexdigest(), media_type="application/octet-stream")  # noqa: S324 - asked for
    except StoreBlocked as problem:
        return fault(check, str(problem), _remedy_for(node, problem))
    except StoreUnreachable as problem:
        return fault(check, str(problem).removesuffix("; trying again"), _reach(node))
    except StoreError as problem:
        return fault(check, str(problem), f"curl -sv {node.store_url} 2>&1 | tail -20")
    return ok(check, f"{node.settings.s3.s3_bucket_name} accepts writes and checks their MD5")


def check_region(node: NodeUnderTest, storage: S3Store) -> Finding:
    """Uploads follow the store to the bucket's region; links are signed without asking it."""
    check, configured, actual = "store.region", node.settings.s3.s3_region, storage.connection.clients.region
    if actual == configured:
        return ok(check, f"the bucket is in region {configured}, or the store does not mind")
    message = f"the bucket is in region {actual}, not {configured}: links to sound do not work"
    return fault(check, message, node.configure(f"s3.s3_region={actual}"))


def check_read(storage: S3Store, key: str, body: bytes) -> Finding:
    """Reads the whole object, and a byte range from its middle, as `fetch` does."""
    check = "store.read"
    try:
        found = storage.head(key)
        if found is None or found.size != len(body):
            return fault(check, "the object just written is missing or has another size", _grant("s3:GetObject"))
        if b"".join(storage.read(key, 0, len(body))) != body:
            return fault(check, "the object read back differs from what was written", _CORRUPTS)
        if b"".join(storage.read(key, 100, 50)) != body[100:150]:
            return fault(check, "a byte range read back is wrong", _CORRUPTS)
    except StoreError as problem:
        return fault(check, str(problem), _grant("s3:GetObject"))
    return ok(check, "reads back correctly, in full and by byte range")


def check_read_back(node: NodeUnderTest, storage: S3Store, key: str) -> Finding:
    """What "verified" means with this key and `[s3] read_back`."""
    check, chosen = "store.read_back", node.settings.s3.read_back
    try:
        b"".join(storage.read(key, 0, 1))
    except StoreError:
        message = "the key may not read: archives are verified by the store's answers alone"
        return warning(check, message, _grant("s3:GetObject"))
    if chosen == "always":
        return ok(check, "every archive is read back before its chunks leave the disk")
    message = (
        f"read_back = {chosen}: not every archive is read back; the others are verified by the store's answers alone"
    )
    return warning(check, message, node.configure("s3.read_back=always"))


def check_link(node: NodeUnderTest, storage: S3Store, key: str, body: bytes) -> Finding:
    """Clients get presigned links like this to fetch sound."""
    check, settings = "store.link", node.settings.s3
    public = settings.public_endpoint_url
    remedy = node.configure("s3.public_endpoint_url=") if public else node.configure("s3.s3_region=REGION")
    try:
        url = storage.presigned_url(settings.s3_bucket_name, key, _LINK_SECONDS)
        with open_url(url, settings.ca_file) as response:
            if response.read(len(body) + 1) != body:
                return fault(check, f"a link to {urlsplit(url).netloc} returns something else", remedy)
    except urllib.error.HTTPError as refusal:
        refusal.close()
        return fault(check, f"{public or node.store_url} rejects its own link ({refusal.code})", remedy)
    except (StoreError, OSError, ValueError) as problem:
        return fault(check, f"a link to {public or node.store_url} does not work ({problem})", remedy)
    return ok(check, f"a link to {urlsplit(url).netloc} works")


def check_delete(storage: S3Store, key: str) -> Finding:
    """Only `imhearing forget` and `keep_remote` need it; a key without this permission is safer."""
    check = "store.delete"
    with contextlib.suppress(StoreError):
        storage.delete(key)
        if storage.head(key) is None:
            return ok(check, "the key may delete")
    return warning(
        check,
        f"the key may not delete: {key} is left behind, and `imhearing forget` cannot work; everything else does",
        _grant("s3:DeleteObject"),
    )


def _remedy_for(node: NodeUnderTest, problem: StoreBlocked) -> str:
    if problem.changes:
        return node.configure(*problem.changes)
    set_keys = node.configure("s3.access_key_id=-", "s3.secret_access_key=-")
    remedies = {
        "no_bucket": node.command("make-bucket"),
        "clock_skew": "sudo timedatectl set-ntp true",
        "store_full": "free space in the store, or buy more",
        "expired": set_keys if node.settings.s3.access_key_id else f"renew the credentials in {_credentials_file()}",
        "account": "contact the provider of the store",
        "tls": f"curl -sv {node.store_url} -o /dev/null  # shows what is wrong with its certificate",
    }
    return remedies.get(problem.reason, _grant("s3:PutObject"))


def _credentials_file() -> str:
    return str(Path(os.environ.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials")).expanduser())


def _reach(node: NodeUnderTest) -> str:
    """A host name that exists only without the bucket in front of it is a setting's fault."""
    settings = node.settings.s3
    if settings.addressing == "virtual" and settings.endpoint_url:
        host = urlsplit(settings.endpoint_url).hostname or ""
        if _resolves(host) and not _resolves(f"{settings.s3_bucket_name}.{host}"):
            return node.configure("s3.addressing=path")
    return node.reach_store()


def _resolves(host: str) -> bool:
    try:
        return bool(socket.getaddrinfo(host, None))
    except OSError:
        return False


def _grant(permission: str) -> str:
    return f"grant the key {permission} on the bucket's prefix: docs/storage.md has the policy to copy"


def check_lifecycle_rules(node: NodeUnderTest, storage: S3Store, *, may_delete: bool) -> Iterator[Finding]:
    """A store that does not reveal its rules is not at fault."""
    try:
        rules = read_lifecycle_rules(storage.connection)
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


def check_expiry(node: NodeUnderTest, storage: S3Store) -> Finding:
    """Whether archives are kept for more than a day beyond `keep_remote`, and why."""
    from edge.catalog import CatalogReader  # noqa: PLC0415 -- pony

    check, keep = "store.expiry", node.settings.archive.keep_remote
    before = Instant(node.kernel.now() - round((keep + 1) * 86_400 * MICROSECONDS))
    try:
        with contextlib.closing(CatalogReader(node.settings.catalog.db_path)) as catalog:
            overdue = catalog.archive_records.uploaded_before(before, _MANY)
        holds = read_holds(node.settings.catalog.db_path)
    except ImHearingError as problem:
        return ok(check, f"not known: {problem}")
    late = [archive for archive in overdue if not holds.touch(archive.started_at, archive.ended_at)]
    if not late:
        return ok(check, f"no archive is kept for longer than {keep:g} days, except what is on hold")
    reason = clock_doubt(node.kernel, storage.clock_ahead)
    more = "" if len(overdue) < _MANY else "at least "
    message = f"{more}{count(len(late), 'archive')} older than keep_remote ({keep:g} days)"
    if reason is not None:
        return warning(check, f"{message}, still kept: {reason}", "sudo timedatectl set-ntp true")
    explained = "the archiver is stopped, or deletes only a part of them each day"
    return warning(check, f"{message}, still kept: {explained}", node.command("status"))


def _node_prefix(node: NodeUnderTest) -> str:
    return f"{node.settings.s3.prefix}{node.settings.node.name}/"
