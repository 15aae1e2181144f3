"""Fewer than three files because fetching and exporting need a spool and a store: see tests/integration/sound."""
