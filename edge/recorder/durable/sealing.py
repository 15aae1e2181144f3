"""Encryption at rest: the chunk being written lies on tmpfs, and reaches the disk encrypted to age public keys.

The node holds no private key: what it has recorded it cannot read again. The only file here that imports pyrage.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from msgspec.structs import replace

from edge.configuration.settings import Recorder
from edge.core.errors import ConfigError, SpoolError
from edge.core.files import write_atomically
from edge.core.values import Chunk, Encryption
from edge.recorder.durable.chunk_writer import Sink, digest, finish_chunk
from edge.spool.spool import Spool

_RECIPIENTS = "recipients"  # beside the parts: whom they are for, also once the configuration is another
_VOLATILE = ("tmpfs", "ramfs")


class Seal(NamedTuple):
    """Where chunks lie while they are written, and whom they are encrypted to."""

    folder: Path
    recipients: tuple[str, ...]

    def finish(self, spool: Spool, part: Path, draft: Chunk) -> Chunk:
        """Encrypts `part`, which nobody writes any more, into the spool as the finished chunk `draft`, and removes it.

        Raises OSError or SpoolError on a bad or full disk. A crash leaves `part` whole, or the chunk finished.
        """
        spool.disk.ensure_room(part.stat().st_size)
        encryption = Encryption(self.recipients, digest(part).sha256)
        target = spool.layout.sealing_path(draft)
        try:
            self.encrypt(part, target)
            chunk = finish_chunk(spool, target, replace(draft, encryption=encryption))
        except (OSError, SpoolError):
            with contextlib.suppress(OSError):  # half of it is of no use, and others need the room
                target.unlink()
            raise
        part.unlink()
        return chunk

    def encrypt(self, plain: Path, target: Path) -> None:
        """OSError or SpoolError when the disk does not take it: pyrage calls everything an EncryptError."""
        pyrage = _pyrage()
        keys = [pyrage.x25519.Recipient.from_str(key) for key in self.recipients]
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
        with plain.open("rb") as reader, Sink(descriptor, "wb") as sink:
            try:
                pyrage.encrypt_io(reader, sink, keys)
            except pyrage.EncryptError as problem:
                raise sink.failure or SpoolError(f"{plain}: cannot be encrypted ({problem})") from None
            if sink.failure is not None:
                raise sink.failure


def open_seal(settings: Recorder, spool: Spool, environ: Mapping[str, str] = os.environ) -> Seal | None:
    """As the settings ask; None where nothing is encrypted. Raises ConfigError, and SpoolError or OSError."""
    if not settings.encrypts:
        return None
    recipients = checked_recipients(settings.recipients)
    folder = make_own(volatile_folder(settings, spool, environ))
    spool.layout.set_parts_folder(folder)
    write_atomically(folder / _RECIPIENTS, "\n".join(recipients).encode(), 0o600)
    return Seal(folder, recipients)


def volatile_folder(settings: Recorder, spool: Spool, environ: Mapping[str, str] = os.environ) -> Path:
    """What the recorder of this spool may use of tmpfs: `make_own` makes it. ConfigError where there is no tmpfs."""
    name = hashlib.sha256(os.fsencode(spool.path.resolve())).hexdigest()[:16]
    return _volatile_place(settings.part_path, environ) / f"imhearing-{os.getuid()}-{name}"


def seal_of(part: Path) -> Seal:
    """The seal that a part on tmpfs was recorded for. SpoolError if its recipients cannot be read."""
    try:
        recipients = checked_recipients((part.parent / _RECIPIENTS).read_text("ascii").replace("\n", ","))
    except (OSError, UnicodeDecodeError, ConfigError) as problem:
        raise SpoolError(f"{part}: its recipients cannot be read ({problem})") from None
    return Seal(part.parent, recipients)


def checked_recipients(text: str) -> tuple[str, ...]:
    """Splits the setting: age public keys, separated by commas. ConfigError names the invalid ones."""
    pyrage = _pyrage()
    keys = tuple(key.strip() for key in text.split(",") if key.strip())
    faults = []
    for number, key in enumerate(keys, 1):
        try:
            pyrage.x25519.Recipient.from_str(key)
        except pyrage.RecipientError as problem:
            if key.upper().startswith("AGE-SECRET-KEY"):
                faults.append(
                    f"[recorder] recipients: key {number} is a private key, which must never be stored on the node;"
                    " use its public key, which `age-keygen -y` prints"
                )
            else:
                faults.append(
                    f"[recorder] recipients: key {number}, {key[:20]!r}, is not an age public key ({problem});"
                    " it looks like age1... and comes from age-keygen"
                )
    if faults or not keys:
        raise ConfigError(faults or ["[recorder] recipients: contains no key"])
    return keys


def _volatile_place(wanted: str, environ: Mapping[str, str]) -> Path:
    """`wanted`, or the first of the usual places, that lies in memory alone."""
    # systemd's RuntimeDirectory= first, where nobody else can put a folder in the way of ours
    usual = (environ.get("RUNTIME_DIRECTORY", ""), environ.get("XDG_RUNTIME_DIR", ""), "/dev/shm")  # noqa: S108
    for place in (wanted,) if wanted else usual:
        if place and Path(place).is_dir() and file_system(Path(place)) in _VOLATILE and os.access(place, os.W_OK):
            return Path(place)
    fault = f"{wanted!r} is no folder on tmpfs" if wanted else "neither $XDG_RUNTIME_DIR nor /dev/shm is on tmpfs"
    raise ConfigError(
        [
            f"[recorder] part_path: {fault} that we can write to; with recipients set, sound must not touch the disk"
            " before it is encrypted: name one that is"
        ]
    )


def file_system(path: Path) -> str:
    """The type of file system that `path` lies on, as the kernel names it; '' where it does not tell."""
    device = path.stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in Path("/proc/self/mountinfo").read_text("utf-8", "replace").splitlines():
        mount, _, kind = line.partition(" - ")
        if mount.split()[2] == wanted:
            return kind.split()[0]
    return ""


def make_own(folder: Path, environ: Mapping[str, str] = os.environ) -> Path:
    """Creates the folder. Others may write to its parent: SpoolError unless it is ours and closed to everybody else.

    In systemd's RuntimeDirectory=, our group may list it, as the query service does; the files in it are ours alone.
    """
    mode = 0o750 if str(folder.parent) == environ.get("RUNTIME_DIRECTORY") else 0o700
    folder.mkdir(mode=mode, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & ~mode:
        raise SpoolError(f"{folder}: is not a private folder of this user; remove it, or set [recorder] part_path")
    return folder


def _pyrage() -> Any:
    import pyrage  # noqa: PLC0415 - a node that encrypts nothing need not spend memory on it

    return pyrage
