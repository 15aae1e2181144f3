"""What may leave the spool, and when."""

from __future__ import annotations

from collections.abc import Iterable

from edge.catalog import Catalog
from edge.errors import SpoolError
from edge.files import sync_folder
from edge.names import stream_of
from edge.spool import Spool


def remove_chunks(spool: Spool, chunk_ids: Iterable[str]) -> None:
    """Removes chunks that the catalog says are stored. Raises SpoolError."""
    try:
        for chunk_id in chunk_ids:
            spool.remove(chunk_id)
        sync_folder(spool.path)
    except OSError as problem:
        raise SpoolError(
            f"{spool.path}: what is stored cannot be removed ({problem.strerror}); mend the folder's rights"
        ) from None


def removable_streams(spool: Spool, catalog: Catalog) -> list[str]:
    """Records of ended streams that nobody needs here any more: the catalog has them, and all their chunks have left.

    The stream being recorded stays, and so do those of this boot while their times are uncertain: a clock correction
    rewrites them.
    """
    state = spool.state()
    if state is None:
        return []
    used = {stream_of(chunk_id) for chunk_id in spool.chunks()}
    used |= {stream_of(chunk_id) for chunk_id in spool.manifests()}
    used |= {stream_of(part.chunk_id) for part in spool.parts()}
    ended = [stream_id for stream_id in spool.streams() if stream_id not in used and stream_id != state.stream_id]
    registered = catalog.streams(ended)
    removable = []
    for stream_id in ended:
        record = spool.stream(stream_id)
        rewritable = record.uncertain and record.boot_id == state.boot_id
        being_opened = record.ordinal > state.ordinal  # its record stands before the state names it
        if registered.get(stream_id) == record and not rewritable and not being_opened:
            removable.append(stream_id)
    return removable
