"""What a node remembers outside of its spool, in `node.json` beside the catalog: whose data folder it is, and whether
its sound is encrypted. The recorder and `imhearing adopt` write it."""

from __future__ import annotations

import logging
import shlex

from msgspec import Struct

from edge.configuration.settings import Settings
from edge.core import wire
from edge.core.errors import ConfigError, SpoolError
from edge.core.files import write_atomically
from edge.core.ids import NodeName
from edge.spool.files import read_document_if_any

log = logging.getLogger(__name__)


class NodeRecord(Struct, frozen=True, kw_only=True):
    """`node.json`."""

    name: NodeName
    encrypted: bool = False


class Home:
    """The data folder of the node that `settings` describe."""

    def __init__(self, settings: Settings) -> None:
        self._node, self._is_encrypting = settings.node, bool(settings.recorder.recipients.strip())
        self._folder = settings.catalog.db_path.parent
        self._path = self._folder / "node.json"

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

    def remember(self) -> None:
        """Makes the settings those that later ones are compared with. Raises OSError."""
        record = NodeRecord(name=self._node.name, encrypted=self._is_encrypting)
        if record != self.record():
            self._folder.mkdir(mode=0o750, parents=True, exist_ok=True)
            write_atomically(self._path, wire.encode(record))
