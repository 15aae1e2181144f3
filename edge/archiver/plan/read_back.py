"""Which uploads are read back before their chunks leave the disk: `[s3] read_back`. Pure."""

from __future__ import annotations

import hashlib

from msgspec import Struct


class ReadBackPolicy(Struct, frozen=True):
    """Reads back `share` of all archives: 1 is every one of them, 0 only the first of each kind of upload."""

    share: float

    @classmethod
    def parse(cls, text: str) -> ReadBackPolicy:
        """From `always`, `first` or a fraction such as `0.1`. Raises ValueError."""
        named = {"always": 1.0, "first": 0.0}
        return cls(named[text] if text in named else float(text))

    def includes(self, key: str) -> bool:
        """Always the same for one archive: another attempt must not accept what the last one found wrong."""
        drawn = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]) / 2**64
        return drawn < self.share


ALWAYS = ReadBackPolicy(1.0)
