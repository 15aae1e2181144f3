"""Answers and messages as people read them.

May import `core`, `messaging`, `query_service`, `queries` and `cli`. Start with `formats`: times, sizes, levels.
"""
