"""The writing half of the catalog, for the archiver alone; a lock on the file beside it makes sure of that."""

from __future__ import annotations

from pathlib import Path

from edge.catalog.deletion_records import DeletionRecords
from edge.catalog.file import WritableCatalogFile
from edge.catalog.loudness import Loudness
from edge.catalog.plans import Plans
from edge.catalog.reader import CatalogReader
from edge.catalog.registration import Registration
from edge.catalog.upload_queue import UploadQueue


class Catalog(CatalogReader):
    """The catalog at `path`; made where it is missing.

    Every change is on disk when its method returns, and may be repeated after a crash: it changes nothing twice.
    """

    def __init__(self, path: Path) -> None:
        file = WritableCatalogFile(path)
        super().__init__(path, file)
        self.registration = Registration(file)
        self.queue = UploadQueue(file)
        self.plans = Plans(file)
        self.deletions = DeletionRecords(file)
        self.loudness = Loudness(file)

    def open(self) -> None:
        """Takes the lock and opens or makes the file. Raises CatalogError when another archiver has it."""
        with self.file.session():
            pass
