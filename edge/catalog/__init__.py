"""The catalog: what was ever recorded, and where it is now. The archiver alone writes it; everybody else reads.

Values go in and come out; entities never leave this package. Times are integer µs, UTC.
May import `core`. Start with `reader` and `writer`: each collaborator answers for one subject.
"""

from edge.catalog.reader import CatalogReader
from edge.catalog.values import CatalogChunk, CatalogSound, RemainingChunk, UploadBacklog, UploadedChunk
from edge.catalog.writer import Catalog

__all__ = [
    "Catalog",
    "CatalogChunk",
    "CatalogReader",
    "CatalogSound",
    "RemainingChunk",
    "UploadBacklog",
    "UploadedChunk",
]
