"""The spool: whether it can be written, how long its disk lasts, how fast it makes a write durable."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Iterator
from pathlib import Path

from commands.doctor.finding import Finding, Patient, fault, ok, warning
from edge.core.errors import SpoolError
from edge.core.files import write_durably
from edge.spool.spool import Spool

_FEW_HOURS, _TOO_FEW_HOURS = 24.0, 2.0
_FLAC_SHARE = 0.55  # of the samples' own size; noise takes more
_PROBES = 5
_PROBE_BYTES = 65_536
_SLOW_SECONDS, _TOO_SLOW_SECONDS = 1.0, 5.0


def look(patient: Patient) -> Iterator[Finding]:
    """Writes a few files of its own into the spool, and removes them."""
    path = patient.settings.recorder.record_path
    writable = can_be_written(patient, path)
    yield writable
    if writable.state != "fault":
        folder = _nearest(path)
        yield has_room(patient, folder)
        yield is_quick(folder)
        if path.is_dir():
            yield parts_are_whole(patient, path)


def can_be_written(patient: Patient, path: Path) -> Finding:
    check, here = "spool.writable", shlex.quote(str(path))
    if not path.exists() and not path.is_symlink():
        return _can_be_made(patient, path)
    if not path.is_dir():
        return fault(check, f"{path} is no folder", f"{patient.sudo}mv {here} {here}.aside")
    try:
        _probe(path, 1)
    except OSError as problem:
        return fault(check, f"{path} cannot be written ({problem.strerror})", _make_writable(patient, path))
    return ok(check, f"{path} can be written")


def _can_be_made(patient: Patient, path: Path) -> Finding:
    check, above = "spool.writable", _nearest(path)
    if not above.is_dir():
        here = shlex.quote(str(above))
        return fault(check, f"{above} is no folder", f"{patient.sudo}mv {here} {here}.aside")
    if not os.access(above, os.W_OK | os.X_OK):
        return fault(check, f"{path} is not there, and {above} cannot be written", _make_writable(patient, above))
    return ok(check, f"{path} is not there yet; the recorder makes it")


def has_room(patient: Patient, folder: Path) -> Finding:
    """Hours until the disk is full if nothing were uploaded, from the format and rate that are set."""
    check, recorder = "spool.room", patient.settings.recorder
    spool = Spool(folder, patient.settings.node.name)
    share = _FLAC_SHARE if recorder.format == "flac" else 1.0
    per_hour = recorder.sample_rate * recorder.channels * recorder.bits // 8 * share * 3_600
    hours = spool.disk.free_bytes() / per_hour
    told = f"{spool.disk.free_bytes() / 1e9:.1f} GB free: {_span(hours)} of sound if nothing is uploaded"
    waiting = bool(folder.is_dir() and spool.chunks.finished())
    remedy = patient.command("archive") if waiting else f"{patient.sudo}du -xhd2 {_mount(folder)} | sort -h | tail"
    if hours < _TOO_FEW_HOURS:
        return fault(check, told, remedy)
    return warning(check, told, remedy) if hours < _FEW_HOURS else ok(check, told)


def is_quick(folder: Path) -> Finding:
    """The slowest of a few writes with fsync: longer than a second, and a power cut costs more than `sync_seconds`."""
    check = "spool.speed"
    try:
        slowest = max(_probe(folder, _PROBE_BYTES) for _ in range(_PROBES))
    except OSError as problem:
        return fault(check, f"{folder}: a write failed ({problem.strerror})", f"df -h {shlex.quote(str(folder))}")
    told = f"a write is durable after {slowest * 1000:.0f} ms at the most"
    remedy = "sudo fstrim -v /  # then, if it stays so: another SD card (class A2), or record to a USB disk"
    if slowest > _TOO_SLOW_SECONDS:
        return fault(check, told, remedy)
    return warning(check, told, remedy) if slowest > _SLOW_SECONDS else ok(check, told)


def parts_are_whole(patient: Patient, path: Path) -> Finding:
    """Whether every file that a crash left became a chunk."""
    check, spool = "spool.damaged", Spool(path, patient.settings.node.name)
    try:
        damaged = sorted(spool.chunks.damaged_parts())
    except SpoolError as problem:
        return fault(check, str(problem), patient.give_back(path))
    if not damaged:
        return ok(check, "no file was set aside as damaged")
    return warning(
        check,
        f"{len(damaged)} unfinished chunks could not be repaired and were set aside, the latest {damaged[-1].name}:"
        " what was in them counts as a gap",
        " && ".join(_move_beside(patient, folder, damaged) for folder in sorted({file.parent for file in damaged})),
    )


def _move_beside(patient: Patient, folder: Path, damaged: list[Path]) -> str:
    """Onto the same file system: what was to be encrypted must not leave the memory for a disk."""
    aside = shlex.quote(f"{folder.absolute()}-damaged")
    files = " ".join(shlex.quote(str(file.absolute())) for file in damaged if file.parent == folder)
    return f"{patient.sudo}mkdir -pm 700 {aside} && {patient.sudo}mv -t {aside} {files}"


def _probe(folder: Path, size: int) -> float:
    """Seconds to make `size` bytes durable."""
    probe = folder / f".probe-{os.getpid()}"
    started = time.monotonic()
    try:
        write_durably(probe, os.urandom(size))
        return time.monotonic() - started
    finally:
        probe.unlink(missing_ok=True)


def _make_writable(patient: Patient, path: Path) -> str:
    if path.exists() and path.stat().st_uid == os.geteuid():
        return f"{patient.sudo}chmod u+rwx {shlex.quote(str(path))}"
    return patient.give_back(path)


def _nearest(path: Path) -> Path:
    """`path`, or the nearest folder above that is there."""
    return path if path.exists() else next(above for above in path.parents if above.exists())


def _mount(folder: Path) -> str:
    place = folder.absolute()
    while not place.is_mount():
        place = place.parent
    return shlex.quote(str(place))


def _span(hours: float) -> str:
    return f"{hours:.1f} hours" if hours < 48 else f"{hours / 24:.0f} days"
