"""Opens what a node encrypted, with a private key that never was on it: the client's only file that imports pyrage."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any, NamedTuple

import pyrage

from edge.core.errors import FetchError

_MAX_KEYS = 1_000_000  # bytes; a file of keys takes some hundred


class Keys(NamedTuple):
    """Private keys, as pyrage holds them; `source` is what messages call them."""

    source: str
    identities: tuple[Any, ...]

    def __repr__(self) -> str:
        return f"Keys({self.source})"


def read_keys(path: Path) -> Keys:
    """Reads a key file as age-keygen writes it: a key on each line, `#` begins a comment. FetchError without one."""
    try:
        with path.open(encoding="ascii") as file:
            lines = [line.strip() for line in file.read(_MAX_KEYS).splitlines()]
    except (OSError, UnicodeDecodeError) as problem:
        raise FetchError(f"{path}: cannot be read ({problem}); name the file that age-keygen wrote") from None
    identities = []
    for number, line in enumerate(lines, 1):
        if line and not line.startswith("#"):
            try:
                identities.append(pyrage.x25519.Identity.from_str(line))
            except pyrage.IdentityError:  # its words might hold a part of the key
                raise FetchError(f"{path}: line {number} is no private key of age") from None
    if not identities:
        raise FetchError(f"{path}: holds no private key; name the file that age-keygen wrote")
    return Keys(str(path), tuple(identities))


def decrypt_file(source: Path, target: Path, keys: Keys, plain_sha256: str | None = None) -> None:
    """Writes the plain text of `source` to the new file `target`, readable by its owner alone.

    FetchError when no key fits, when `source` was changed or cut off, or when the plain text's SHA-256 is another than
    the manifest's `plain_sha256`; `target` is then removed. Raises OSError on a bad disk.
    """
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with source.open("rb") as reader, os.fdopen(descriptor, "wb") as writer:
            pyrage.decrypt_io(reader, writer, list(keys.identities))
        if plain_sha256 is not None:
            with target.open("rb") as plain:
                found = hashlib.file_digest(plain, "sha256").hexdigest()
            if found != plain_sha256:
                raise FetchError(f"{source.name}: what comes out of it is not what its manifest says")
    except (pyrage.DecryptError, OSError) as problem:
        target.unlink(missing_ok=True)
        if isinstance(problem, OSError) and problem.errno is not None:
            raise  # the disk's; what pyrage finds wrong in the middle of a file is an OSError too, but has no number
        raise FetchError(f"{source.name}: cannot be decrypted with {keys.source} ({problem})") from None
    except BaseException:
        target.unlink(missing_ok=True)
        raise
