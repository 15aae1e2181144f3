"""Shared by every package: errors, instants, JSON, values, ids, tickets, atomic files, the kernel clock, systemd.

Imports nothing else of the project. Start with `values`: what a chunk, a stream and an archive are.
"""
