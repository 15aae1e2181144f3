"""Fewer than three files because the table of refusals is all of the store that is pure."""
