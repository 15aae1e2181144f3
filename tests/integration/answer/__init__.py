"""Fewer than three files because clips are the only answer that needs a store: see tests/unit/answer."""
