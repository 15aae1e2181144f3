"""The spool's small state files: stream records, the recorder's `state.json`, its `sounds.json`, the ordered pause."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from edge.core import wire
from edge.core.errors import SpoolError, WireError
from edge.core.files import write_atomically
from edge.core.ids import stream_of
from edge.core.instant import Instant
from edge.core.kernel_clock import KernelClock
from edge.core.values import Chunk, EndedSound, PauseOrder, SpoolState, Stream
from edge.spool.chunks import PartFile, SpoolFile
from edge.spool.files import (
    ForeignDocument,
    check_owner,
    modified_at,
    raises_spool_error,
    read_document,
    read_document_if_any,
    scan,
)
from edge.spool.layout import SpoolLayout
from edge.spool.thresholds import Limits

# fields of the spool's other documents
_NO_ORDER = {name for kind in (Chunk, Stream, SpoolState, Limits) for name in kind.__struct_fields__} - {
    *PauseOrder.__struct_fields__
}
_STREAM = re.compile(r"(\d{8}T\d{6}Z-[a-z2-7]{4})\.stream\.json", re.ASCII)


@raises_spool_error
class StreamRecords:
    """The records of the streams that a node with these `names` recorded."""

    def __init__(self, layout: SpoolLayout, names: Collection[str]) -> None:
        self._layout = layout
        self._names = names

    def ids(self) -> list[str]:
        spool = self._layout.path
        return sorted(scan(spool, _STREAM, lambda match, _entry: match[1], spool))

    def read(self, stream_id: str) -> Stream:
        """The record of one stream; SpoolError when it is missing, damaged or another's."""
        path = self._layout.stream_path(stream_id)
        stream = read_document(path, Stream)
        check_owner(path, f"stream {stream.stream_id}", stream.stream_id == stream_id, stream.node, self._names)
        return stream

    def write(self, stream: Stream) -> None:
        write_atomically(self._layout.stream_path(stream.stream_id), wire.encode(stream))

    def remove(self, stream_id: str) -> None:
        self._layout.stream_path(stream_id).unlink(missing_ok=True)


@raises_spool_error
class StateFile:
    """What the recorder last noted in `state.json`."""

    def __init__(self, layout: SpoolLayout) -> None:
        self._path = layout.state_path

    def read(self) -> SpoolState | None:
        """None where the recorder never ran. SpoolError when the file is damaged."""
        return read_document_if_any(self._path, SpoolState)

    def write(self, state: SpoolState) -> None:
        write_atomically(self._path, wire.encode(state))

    def recorder_seen_at(
        self, state: SpoolState, parts: Sequence[PartFile], finished: Mapping[str, SpoolFile]
    ) -> Instant | None:
        """When the recorder in this state last wrote to the spool, state or sound; None where nothing shows it.

        `parts` and `finished` were listed just before, in this order: a chunk that was finished meanwhile is in both,
        never in neither. Between two chunks there is no part, and the archiver may already have removed the finished
        one: then `state.json`, which is written with each chunk, shows it.
        """
        paths = [self._path]
        times = [part.modified_at for part in parts if stream_of(part.chunk_id) == state.stream_id]
        if not times:
            newest = max((name for name in finished if stream_of(name) == state.stream_id), default=None)
            paths += [finished[newest].path] if newest else []
        for path in paths:
            with contextlib.suppress(OSError):
                times.append(modified_at(path.stat()))
        return max(times, default=None)


@raises_spool_error
class EndedSoundsFile:
    """The sounds that ended in chunks still being written, in `sounds.json`. A power cut may lose it."""

    def __init__(self, layout: SpoolLayout) -> None:
        self._path = layout.sounds_path

    def read(self) -> tuple[EndedSound, ...]:
        return read_document_if_any(self._path, tuple[EndedSound, ...]) or ()

    def write(self, sounds: Collection[EndedSound]) -> None:
        if sounds:
            write_atomically(self._path, wire.encode(sounds), sync=False)
        else:
            self._path.unlink(missing_ok=True)


@raises_spool_error
class PauseFile:
    """The ordered pause, in `pause.json`."""

    def __init__(self, layout: SpoolLayout) -> None:
        self._path = layout.pause_path

    def read(self, owners: Collection[int] | None = None) -> PauseOrder | None:
        """The ordered pause, even if its end has passed; None without one. Raises ForeignDocument.

        `owners`: the users who may order one; others who may write to the spool could rename its documents to this.
        """
        document: Any = read_document_if_any(self._path, dict[str, Any] | list[Any], owners)  # type: ignore[arg-type]
        if document is None:
            return None
        if isinstance(document, list) or not _NO_ORDER.isdisjoint(document):
            raise ForeignDocument(f"{self._path}: it is another document of the spool")
        try:
            return wire.convert(document, PauseOrder)
        except WireError as problem:
            raise SpoolError(f"{self._path}: is damaged ({problem}); move it away") from None

    def write(self, order: PauseOrder) -> None:
        write_atomically(self._path, wire.encode(order))

    def order(self, until: Instant | None, kernel: KernelClock) -> None:
        """Orders a pause from now on, and records the clock that its end refers to."""
        uncertain = not kernel.synchronised()
        self.write(PauseOrder(until, kernel.boot_id, kernel.utc_offset(), uncertain))

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)
