"""What the node keeps on its disk: the spool (writable, fast, with room?) and the catalog (intact, of our version?)."""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from commands.doctor import installed
from commands.doctor.node_under_test import Finding, NodeUnderTest, fault, ok, warning
from edge.core.errors import ConfigError, SpoolError, SpoolMissing
from edge.core.files import write_durably
from edge.core.instant import MICROSECONDS
from edge.spool.home import Home
from edge.spool.spool import Spool

_FEW_HOURS, _TOO_FEW_HOURS = 24.0, 2.0
_FLAC_RATIO = 0.55  # of the uncompressed size; noise compresses less
_PROBES = 5
_PROBE_BYTES = 65_536
_SLOW_SECONDS, _TOO_SLOW_SECONDS = 1.0, 5.0
_BUSY_TIMEOUT = 2.0  # seconds to wait for the archiver's commit
_CHECK_SECONDS = 6.0  # limit of the integrity check; a large catalog on a slow card takes longer
_STEPS = 10_000  # SQLite virtual machine steps between two checks of the time


def check_spool(node: NodeUnderTest) -> Iterator[Finding]:
    """Writes a few files to the spool, and removes them."""
    path = node.settings.recorder.record_path
    owner = check_owner(node)
    yield owner
    disk = check_disk(node, path)
    yield disk
    if disk.state == "fault":
        return
    writable = check_writable(node, path)
    yield writable
    if writable.state != "fault":
        folder = _nearest_existing(path)
        yield check_room(node, folder)
        yield check_speed(folder)
        if path.is_dir():
            yield check_damaged(node, path)


def check_owner(node: NodeUnderTest) -> Finding:
    """Whether the recorder would refuse these settings."""
    check, home, settings = "spool.owner", Home(node.settings), node.settings
    try:
        home.check_settings()
    except ConfigError as problem:
        record, changes = home.record(), []
        if record is not None and record.name not in (settings.node.name, *settings.node.earlier_names):
            changes.append(f"node.name={record.name}")
        if record is not None and record.encrypted and not settings.recorder.recipients:
            changes.append("recorder.recipients=KEY")
        return fault(check, "; ".join(problem.faults), node.configure(*changes))
    return ok(check, f"belongs to node {settings.node.name}")


def check_disk(node: NodeUnderTest, path: Path) -> Finding:
    """Whether the spool is on the disk that it was on."""
    check, home = "spool.disk", Home(node.settings)
    try:
        home.check_disk()
    except SpoolMissing as problem:
        remedy = "sudo mount -a" if home.is_disk_unmounted() else node.command("adopt")
        return fault(check, str(problem), remedy)
    if waiting := home.to_join():
        folders = ", ".join(map(str, waiting))
        return warning(
            check,
            f"sound in {folders} is not in the spool yet: the recorder moves it when it starts",
            f"{node.sudo}ls -l {' '.join(shlex.quote(str(one)) for one in waiting)}",
        )
    return ok(check, f"{path} is on the same disk as before")


def check_writable(node: NodeUnderTest, path: Path) -> Finding:
    check, here = "spool.writable", shlex.quote(str(path))
    if not path.exists() and not path.is_symlink():
        return _check_creatable(node, path)
    if not path.is_dir():
        return fault(check, f"{path} is not a folder", f"{node.sudo}mv {here} {here}.aside")
    try:
        _probe(path, 1)
    except OSError as problem:
        return fault(check, *_why_not_writable(node, path, problem))
    if node.installed and not installed.can_archiver_write(path.stat()):
        return fault(
            check, f"{path} is not writable for the archiver, which removes what the store has", node.give_back(path)
        )
    return ok(check, f"{path} is writable")


def _why_not_writable(node: NodeUnderTest, path: Path, problem: OSError) -> tuple[str, str]:
    """What to say, and the remedy: permissions explain only what they forbid."""
    match problem.errno:
        case errno.ENOSPC | errno.EDQUOT if os.statvfs(path).f_bavail and not os.statvfs(path).f_favail:
            most = f"{node.sudo}du --inodes -xSd6 {_mount(path)} | sort -n | tail"
            return f"{path}: the disk has no inodes left: too many small files", f"{most}  # delete some there"
        case errno.ENOSPC | errno.EDQUOT:
            return f"{path}: the disk is full", _make_room(node, path)
        case errno.EROFS:
            remount = f"{node.sudo or 'sudo '}mount -o remount,rw {_mount(path)}"
            return f"{path}: the disk is read-only", f"{remount}  # after an error, check it first: sudo dmesg"
        case _:
            return f"{path} is not writable ({problem.strerror})", _make_writable(node, path)


def _make_room(node: NodeUnderTest, folder: Path) -> str:
    waiting = bool(folder.is_dir() and Spool(folder, node.settings.node.name).chunks.finished())
    return node.command("archive") if waiting else f"{node.sudo}du -xhd2 {_mount(folder)} | sort -h | tail"


def _check_creatable(node: NodeUnderTest, path: Path) -> Finding:
    check, parent = "spool.writable", _nearest_existing(path)
    if not parent.is_dir():
        here = shlex.quote(str(parent))
        return fault(check, f"{parent} is not a folder", f"{node.sudo}mv {here} {here}.aside")
    if not os.access(parent, os.W_OK | os.X_OK):
        return fault(check, f"{path} does not exist, and {parent} is not writable", _make_writable(node, parent))
    return ok(check, f"{path} does not exist yet; the recorder creates it")


def check_room(node: NodeUnderTest, folder: Path) -> Finding:
    """Hours until the disk is full if nothing is uploaded, from the configured format and sample rate."""
    check, recorder = "spool.room", node.settings.recorder
    spool = Spool(folder, node.settings.node.name)
    ratio = _FLAC_RATIO if recorder.format == "flac" else 1.0
    per_hour = recorder.sample_rate * recorder.channels * recorder.bits // 8 * ratio * 3_600
    hours = spool.disk.free_bytes() / per_hour
    message = f"{spool.disk.free_bytes() / 1e9:.1f} GB free: {_span(hours)} of sound if nothing is uploaded"
    remedy = _make_room(node, folder)
    if hours < _TOO_FEW_HOURS:
        return fault(check, message, remedy)
    return warning(check, message, remedy) if hours < _FEW_HOURS else ok(check, message)


def check_speed(folder: Path) -> Finding:
    """The slowest of a few synced writes. If it takes long, a power cut costs more than `sync_seconds`."""
    check = "spool.speed"
    try:
        slowest = max(_probe(folder, _PROBE_BYTES) for _ in range(_PROBES))
    except OSError as problem:
        return fault(check, f"{folder}: a write failed ({problem.strerror})", f"df -h {shlex.quote(str(folder))}")
    message = f"a write is durable after at most {slowest * 1000:.0f} ms"
    remedy = "sudo fstrim -v /  # if that does not help: use another SD card (class A2), or record to a USB disk"
    if slowest > _TOO_SLOW_SECONDS:
        return fault(check, message, remedy)
    return warning(check, message, remedy) if slowest > _SLOW_SECONDS else ok(check, message)


def check_damaged(node: NodeUnderTest, path: Path) -> Finding:
    """Whether every file left by a crash became a chunk."""
    check, spool = "spool.damaged", Spool(path, node.settings.node.name)
    try:
        damaged = sorted(spool.chunks.damaged_parts())
    except SpoolError as problem:
        return fault(check, str(problem), node.give_back(path))
    if not damaged:
        return ok(check, "no damaged files")
    return warning(
        check,
        f"{len(damaged)} unfinished chunks could not be repaired and were set aside, the latest {damaged[-1].name}:"
        " their sound is reported as a gap",
        " && ".join(_move_aside(node, folder, damaged) for folder in sorted({file.parent for file in damaged})),
    )


def _move_aside(node: NodeUnderTest, folder: Path, damaged: list[Path]) -> str:
    """Stays on the same file system: sound that was to be encrypted must not get from memory to a disk."""
    aside = shlex.quote(f"{folder.absolute()}-damaged")
    files = " ".join(shlex.quote(str(file.absolute())) for file in damaged if file.parent == folder)
    return f"{node.sudo}mkdir -pm 700 {aside} && {node.sudo}mv -t {aside} {files}"


def _probe(folder: Path, size: int) -> float:
    """Seconds to make `size` bytes durable."""
    probe = folder / f".probe-{os.getpid()}"
    started = time.monotonic()
    try:
        write_durably(probe, os.urandom(size))
        return time.monotonic() - started
    finally:
        probe.unlink(missing_ok=True)


def _make_writable(node: NodeUnderTest, path: Path) -> str:
    if not node.installed and path.exists() and path.stat().st_uid == os.geteuid():
        return f"{node.sudo}chmod u+rwx {shlex.quote(str(path))}"
    return node.give_back(path)


def _nearest_existing(path: Path) -> Path:
    """`path`, or its nearest parent that exists."""
    return path if path.exists() else next(parent for parent in path.parents if parent.exists())


def _mount(folder: Path) -> str:
    mount = folder.absolute()
    while not mount.is_mount():
        mount = mount.parent
    return shlex.quote(str(mount))


def _span(hours: float) -> str:
    return f"{hours:.1f} hours" if hours < 48 else f"{hours / 24:.0f} days"


def check_catalog(node: NodeUnderTest) -> Iterator[Finding]:
    path = node.settings.catalog.db_path
    if not path.exists():
        yield ok("catalog.integrity", f"{path} does not exist yet; the archiver creates it")
        return
    integrity = check_integrity(node, path)
    yield integrity
    if integrity.state != "fault":
        version = check_version(node, path)
        yield version
        if version.state == "ok":  # other versions have other tables
            yield check_schema(node, path)
            yield check_times(node, path)
        yield check_permissions(node, path)


def check_integrity(node: NodeUnderTest, path: Path) -> Finding:
    """SQLite's own check of every page."""
    check = "catalog.integrity"
    here, rebuild = shlex.quote(str(path)), node.while_archiver_stopped("catalog rebuild")
    try:
        with contextlib.closing(_open(path)) as connection:
            result = _quick_check(connection, node)
    except sqlite3.DatabaseError as problem:
        text = str(problem)
        if "interrupted" in text:
            return ok(check, f"{path}: no damage found within {_CHECK_SECONDS:g} s; too large to check completely")
        if "locked" in text or "busy" in text:
            return warning(check, f"{path} is locked by a long commit", node.command("doctor"))
        if "unable to open" in text:
            remedy = node.give_back(path) if node.installed else f"sudo chown {os.geteuid()} {here}"
            return fault(check, f"{path} cannot be read", remedy)
        return fault(check, f"{path} is damaged ({text})", rebuild)
    if result != "ok":
        return fault(check, f"{path} is damaged ({result[:200]})", rebuild)
    return ok(check, f"{path} is intact")


def _quick_check(connection: sqlite3.Connection, node: NodeUnderTest) -> str:
    ends_at = node.kernel.monotonic() + round(_CHECK_SECONDS * 1e6)
    connection.set_progress_handler(lambda: int(node.kernel.monotonic() > ends_at), _STEPS)
    return str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])


def check_version(node: NodeUnderTest, path: Path) -> Finding:
    from edge.catalog.tables import VERSION  # noqa: PLC0415 -- pony, for one number

    check = "catalog.version"
    with contextlib.closing(_open(path)) as connection:
        found = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if found > VERSION:
        here = shlex.quote(str(path))
        return fault(
            check,
            f"schema {found} was written by a newer version (this one: {VERSION}); upgrade, or rebuild the catalog",
            node.while_archiver_stopped("catalog rebuild", first=f"{node.sudo}mv {here} {here}.newer"),
        )
    if found < VERSION:
        return warning(check, f"schema {found}: the archiver will upgrade it to {VERSION} when it starts", "")
    return ok(check, f"schema {found}")


def check_schema(node: NodeUnderTest, path: Path) -> Finding:
    """SQLite's integrity check does not notice a dropped table."""
    from edge.catalog.tables import Tables  # noqa: PLC0415 -- pony

    with contextlib.closing(_open(path)) as connection:
        missing = [text for table, names in Tables.columns().items() for text in _missing(connection, table, names)]
    if missing:
        rebuild = node.while_archiver_stopped("catalog rebuild")
        return fault("catalog.schema", f"{path} is missing {', '.join(missing)}", rebuild)
    return ok("catalog.schema", "all tables and columns exist")


def check_times(node: NodeUnderTest, path: Path) -> Finding:
    """Whether any sound is from the future: the indexed end of the times is enough."""
    check, latest = "catalog.times", node.kernel.now() + 86_400 * MICROSECONDS
    try:
        with contextlib.closing(_open(path)) as connection:
            (late,) = connection.execute("SELECT count(*) FROM chunks WHERE started_at > ?", (latest,)).fetchone()
    except sqlite3.DatabaseError as problem:
        return ok(check, f"not known: {problem}")
    if late:
        remedy = node.command("catalog verify")
        return warning(
            check, f"{late} chunks have times in the future: clocks were set wrong", f"{remedy}  # lists them"
        )
    return ok(check, "no sound is from the future")


def _missing(connection: sqlite3.Connection, table: str, columns: tuple[str, ...]) -> list[str]:
    existing = {row[0] for row in connection.execute("SELECT name FROM pragma_table_info(?)", (table,))}
    if not existing:
        return [f"table {table}"]
    return [f"column {table}.{name}" for name in columns if name not in existing]


def check_permissions(node: NodeUnderTest, path: Path) -> Finding:
    """SQLite also writes to the folder, for its journal."""
    check = "catalog.rights"
    for target in (path, path.parent):
        if node.installed:
            if target.stat().st_uid != installed.uid_of(installed.ARCHIVER):
                return fault(check, f"{target} does not belong to the archiver", node.give_back(target))
            continue
        if not os.access(target, os.W_OK, effective_ids=True):
            return fault(check, f"{target} is not writable", f"sudo chown {os.geteuid()} {shlex.quote(str(target))}")
    return ok(check, "is writable")


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_BUSY_TIMEOUT)
    connection.execute("PRAGMA query_only = ON")
    return connection
