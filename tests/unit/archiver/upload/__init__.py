"""Fewer than three files because uploads need a store: see tests/integration/archiver/upload."""
