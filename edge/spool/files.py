"""Reading the spool's small JSON files and listing its folders. Every failure becomes a SpoolError."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from types import FunctionType, MappingProxyType
from typing import ParamSpec, TypeVar

from edge.core import wire
from edge.core.errors import SpoolError, WireError
from edge.core.files import ForeignFile, is_denied, read_placed_file
from edge.core.instant import Instant

_MAX_DOCUMENT = 1_000_000  # bytes; an hour's manifest with its per-second levels takes 30 kB

P = ParamSpec("P")
T = TypeVar("T")


class ForeignDocument(SpoolError):
    """Not one that this node's own users wrote under that name."""


def raises_spool_error(kind: type[T]) -> type[T]:
    """Decorates a class: its public methods raise SpoolError instead of OSError."""
    for name, member in list(vars(kind).items()):
        if isinstance(member, FunctionType) and not name.startswith("_"):
            setattr(kind, name, spool_errors(member))
    return kind


def spool_errors(call: Callable[P, T]) -> Callable[P, T]:
    """Decorates a function: it raises SpoolError instead of OSError."""

    @functools.wraps(call)
    def translated(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return call(*args, **kwargs)
        except OSError as problem:
            raise _spool_error(problem) from problem

    return translated


def _spool_error(problem: OSError) -> SpoolError:
    # without the random part of a temporary name, so that the same problem is the same text each time
    name = re.sub(r"\.[0-9a-f]{8}\.tmp$", "", os.fsdecode(problem.filename or "")) or "the spool's disk"
    remedy = "; fix its permissions" if is_denied(problem) else ""
    return SpoolError(f"{name}: cannot be used ({problem.strerror}){remedy}", problem.errno)


def read_document(path: Path, wanted: type[T]) -> T:
    document = read_document_if_any(path, wanted)
    if document is None:
        raise SpoolError(f"{path}: cannot be read ({os.strerror(errno.ENOENT)})", errno.ENOENT)
    return document


def read_document_if_any(path: Path, wanted: type[T], owners: Collection[int] | None = None) -> T | None:
    """None where there is no such file. `owners`: as for `read_placed_file`, of a file that orders something."""
    try:
        data = read_placed_file(path, _MAX_DOCUMENT, owners)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ForeignFile as problem:
        raise ForeignDocument(f"{path}: {problem.strerror}", problem.errno) from None
    except OSError as problem:
        raise SpoolError(f"{path}: cannot be read ({problem.strerror})", problem.errno) from None
    try:
        return wire.decode(data, wanted)
    except WireError as problem:
        raise SpoolError(f"{path}: is damaged ({problem}); move it away") from None


def check_owner(path: Path, described: str, is_named_so: bool, node: str, names: Collection[str]) -> None:
    """SpoolError where the document `path`, which describes something of `node`, is another's or of something else."""
    if is_named_so and node in names:
        return
    renamed = "" if node in names else f"if this node was once called {node}, add that to [node] former_names; else "
    raise SpoolError(f"{path}: belongs to {described} of node {node}; {renamed}move it out of the spool")


def scan(
    folder: Path,
    pattern: re.Pattern[str],
    make: Callable[[re.Match[str], os.DirEntry[str]], T],
    spool: Path,
    made: Mapping[str, T] = MappingProxyType({}),
) -> Iterator[T]:
    """What `make` gives for each regular file in `folder` whose whole name matches. `made`: by path, what it gave
    earlier for some, and would give again."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if (before := made.get(entry.path)) is not None:
                    yield before
                    continue
                match = pattern.fullmatch(entry.name)
                if not match:
                    continue
                # a file may be renamed or removed between listing and stat
                with contextlib.suppress(FileNotFoundError):
                    if entry.is_file(follow_symlinks=False):
                        yield make(match, entry)
    except OSError as problem:
        raise SpoolError(f"{spool}: the spool cannot be listed ({problem.strerror})", problem.errno) from None


def modified_at(stat: os.stat_result) -> Instant:
    return Instant(stat.st_mtime_ns // 1000)
