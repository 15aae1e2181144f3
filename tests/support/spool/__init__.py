"""Spools: filled with chunks, on a small disk, and read back."""
