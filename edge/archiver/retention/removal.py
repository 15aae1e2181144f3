"""What may leave the spool, and when."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from edge.catalog import Catalog
from edge.core.errors import SpoolError
from edge.core.files import sync_folder
from edge.core.ids import stream_of
from edge.spool.spool import Spool


def remove_chunks(spool: Spool, chunk_ids: Iterable[str]) -> None:
    """Removes chunks that the catalog says need not be here. Raises SpoolError, after it tried every one of them."""
    _each(spool, spool.chunks.remove, chunk_ids)


def remove_discarded(spool: Spool, catalog: Catalog) -> None:
    """Removes what the catalog says was given up on purpose, and is still here. Raises SpoolError."""
    left = catalog.deletions.given_up(spool.chunks.finished().keys() | spool.chunks.manifest_ids())
    if leftovers := [chunk_id for chunk_id, sha256 in left.items() if not _is_another(spool, chunk_id, sha256)]:
        remove_chunks(spool, leftovers)


def _is_another(spool: Spool, chunk_id: str, sha256: str) -> bool:
    """Whoever may write archives can tell of any name that it was given up; the sound here may be another."""
    try:
        return spool.chunks.manifest(chunk_id).sha256 != sha256
    except SpoolError:
        return False


def remove_streams(spool: Spool, stream_ids: Iterable[str]) -> None:
    """Removes records of streams. Raises SpoolError, after it tried every one of them."""
    _each(spool, spool.streams.remove, stream_ids)


def _each(spool: Spool, remove: Callable[[str], None], names: Iterable[str]) -> None:
    trouble: OSError | None = None
    for name in names:
        try:
            remove(name)
        except OSError as problem:
            trouble = problem
    try:
        sync_folder(spool.path)
    except OSError as problem:
        trouble = problem
    if trouble is not None:
        raise SpoolError(
            f"{spool.path}: what is not needed here any more cannot be removed ({trouble.strerror});"
            " mend the folder's rights"
        )


def removable_streams(spool: Spool, catalog: Catalog, complain: Callable[[str, SpoolError], None]) -> list[str]:
    """Records of ended streams that nobody needs here any more: the catalog has them, and all their chunks have left.

    The stream being recorded stays, and so do those of this boot while their times are uncertain: a clock correction
    rewrites them. So does what cannot be read or is another's; `complain` is told its name and why.
    """
    try:
        state = spool.state.read()
    except SpoolError as problem:
        complain("state.json", problem)
        return []
    if state is None:
        return []
    used = {stream_of(chunk_id) for chunk_id in spool.chunks.finished()}
    used |= {stream_of(chunk_id) for chunk_id in spool.chunks.manifest_ids()}
    used |= {stream_of(part.chunk_id) for part in spool.chunks.parts()}
    ended = [stream_id for stream_id in spool.streams.ids() if stream_id not in used and stream_id != state.stream_id]
    registered = catalog.streams(ended)
    removable = []
    for stream_id in ended:
        try:
            record = spool.streams.read(stream_id)
        except SpoolError as problem:
            complain(stream_id, problem)
            continue
        rewritable = record.uncertain and record.boot_id == state.boot_id
        being_opened = record.ordinal > state.ordinal  # its record stands before the state names it
        if registered.get(stream_id) == record and not rewritable and not being_opened:
            removable.append(stream_id)
    return removable
