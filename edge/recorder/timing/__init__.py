"""When each frame was recorded, and what is missing.

May import `core`, `spool` and `capture`. Start with `clock`: frames to UTC; `continuity` finds what is missing.
"""
