"""Fewer than three files because most of it is shell: what runs on a booted node, and the table made from it."""
