"""What a node remembers outside of its spool, in `recorder/node.json` in the data folder: whose that is, whether its
sound is encrypted, and which disk the spool is on. The recorder and `imhearing adopt` write it."""

from __future__ import annotations

import logging
import secrets
import shlex
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from edge.configuration.settings import Settings
from edge.core import wire
from edge.core.errors import ConfigError, SpoolError, SpoolMissing
from edge.core.files import read_placed_file, remove_abandoned, write_atomically
from edge.core.ids import NodeName
from edge.spool.files import read_document_if_any

log = logging.getLogger(__name__)

_MARK = ".mark"  # in the spool, so that its disk is recognised however it is attached


class SpoolPlace(Struct, frozen=True):
    """Where the spool was. A bare mount point lacks the mark, and is on the data folder's file system."""

    path: str  # relative to the data folder if below it: in a copy of that, it is not the original's
    mark: str
    has_own_disk: bool  # another file system than the data folder's


class NodeRecord(Struct, frozen=True, kw_only=True):
    """`node.json`."""

    name: NodeName
    encrypted: bool = False
    spool: SpoolPlace | None = None
    to_join: tuple[str, ...] = ()  # folders with sound that has yet to be moved into the spool; relative like `path`


def device_of(path: Path) -> int:
    """The file system that `path`, or the nearest parent that exists, is on."""
    while not path.exists():
        path = path.parent
    return path.stat().st_dev


class Home:
    """The data folder of the node that `settings` describe."""

    def __init__(self, settings: Settings, device: Callable[[Path], int] = device_of) -> None:
        self._node, self._is_encrypting = settings.node, settings.recorder.encrypts
        self._folder, self._spool = settings.catalog.db_path.parent, settings.recorder.record_path
        self._own_folder = settings.recorder_folder
        self._path = self._own_folder / "node.json"
        self._device = device

    @property
    def strays(self) -> Path:
        """Where sound is kept that was recorded to the spool's path while its disk was not mounted."""
        return self._own_folder / "strays"

    def record(self) -> NodeRecord | None:
        """None where nothing was recorded yet, or the file is damaged, which is logged."""
        try:
            return read_document_if_any(self._path, NodeRecord)
        except SpoolError as problem:
            log.warning("%s", problem)
            return None

    def check_settings(self) -> None:
        """ConfigError where the settings are another node's, or would store in clear what was encrypted so far."""
        record, faults = self.record(), []
        if record is None:
            return
        if record.name not in (self._node.name, *self._node.earlier_names):
            faults.append(
                f"{self._folder}: belongs to node {record.name}, but the settings say {self._node.name}: use its own"
                f" settings (--config); if the node was renamed, set [node] former_names = {record.name}"
            )
        if record.encrypted and not self._is_encrypting:
            adopt = f"imhearing adopt --data {shlex.quote(str(self._folder))} --set recorder.recipients="
            faults.append(
                f"{self._folder}: its sound has been encrypted so far, but [recorder] recipients is empty: use its own"
                f" settings (--config); to record unencrypted from now on, first run: {adopt}"
            )
        if faults:
            raise ConfigError(faults)

    def check_disk(self) -> None:
        """SpoolMissing where the spool's path leads to another disk than the one that it was on."""
        record = self.record()
        place = record.spool if record is not None else None
        if place is None or self._folder / place.path != self._spool or place.mark == self._mark():
            return
        if self.is_disk_unmounted():
            raise SpoolMissing(f"{self._spool}: the disk of the spool is not mounted; recording resumes once it is")
        if place.has_own_disk or self._has_own_disk():
            raise SpoolMissing(
                f"{self._spool}: is not the disk that the spool was on; mount that one, or, if this one takes its"
                " place, run `imhearing adopt` (with --from OLD, to move the sound on the old disk here)"
            )

    def is_disk_unmounted(self) -> bool:
        """Whether the spool's path is a bare mount point."""
        record = self.record()
        return (
            record is not None
            and record.spool is not None
            and self._folder / record.spool.path == self._spool
            and record.spool.has_own_disk
            and not self._has_own_disk()
        )

    def remember(self) -> None:
        """Makes the settings, and the disk that the spool is on, what later ones are compared with.

        Where the spool has another path now, what is left at its old one is to be joined. Raises OSError.
        """
        remove_abandoned(self._own_folder, r"(?:node|calibration)\.json")
        before = self.record()
        to_join = before.to_join if before is not None else ()
        if before is not None and before.spool is not None and self._folder / before.spool.path != self._spool:
            to_join = (*to_join, before.spool.path)
        self._write(to_join)

    def adopt(self) -> None:
        """As `remember`, for a disk that `check_disk` refuses. Nothing remains to be joined. Raises OSError."""
        self._write(())

    def to_join(self) -> list[Path]:
        """The folders with sound that has yet to be moved into the spool."""
        record = self.record()
        return [self._folder / folder for folder in record.to_join] if record is not None else []

    def add_to_join(self, folder: Path) -> None:
        """`folder` has sound that is to be moved into the spool. Raises OSError."""
        self._change_to_join(lambda folders: (*folders, self._stored(folder)))

    def mark_joined(self, folder: Path) -> None:
        """The sound in `folder` is in the spool. Raises OSError."""
        self._change_to_join(lambda folders: tuple(one for one in folders if self._folder / one != folder))

    def _change_to_join(self, change: Callable[[tuple[str, ...]], tuple[str, ...]]) -> None:
        if (record := self.record()) is not None:
            changed = replace(record, to_join=tuple(dict.fromkeys(change(record.to_join))))
            write_atomically(self._path, wire.encode(changed))

    def _write(self, to_join: tuple[str, ...]) -> None:
        mark = self._mark()
        if mark is None:
            mark = secrets.token_hex(8)
            self._spool.mkdir(mode=0o750, parents=True, exist_ok=True)
            write_atomically(self._spool / _MARK, mark.encode())
        record = NodeRecord(
            name=self._node.name,
            encrypted=self._is_encrypting,
            spool=SpoolPlace(self._stored(self._spool), mark, self._has_own_disk()),
            to_join=tuple(dict.fromkeys(folder for folder in to_join if self._folder / folder != self._spool)),
        )
        if record != self.record():
            self._own_folder.mkdir(mode=0o750, parents=True, exist_ok=True)
            write_atomically(self._path, wire.encode(record))

    def _stored(self, path: Path) -> str:
        return str(path.relative_to(self._folder) if path.is_relative_to(self._folder) else path)

    def _has_own_disk(self) -> bool:
        return self._device(self._spool) != self._device(self._folder)

    def _mark(self) -> str | None:
        try:
            return read_placed_file(self._spool / _MARK).decode("ascii").strip() or None
        except (OSError, UnicodeDecodeError):
            return None
