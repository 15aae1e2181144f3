"""Querying nodes from anywhere, page by page, through any door."""
