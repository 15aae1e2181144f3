"""Answers and messages as people read them.

May import `core`, `messaging`, `queries` and `cli`. Start with `formats`: times, sizes, levels.
"""
