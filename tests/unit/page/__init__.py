"""Fewer than three files because most of the page runs in a browser: see tests/integration/page."""
