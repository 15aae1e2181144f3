"""The roll-up: each quarter-hour of UTC in sums, kept in the same transaction as the rows that it sums up.

May import `core`, and of the catalog around it `budget`, `queries`, `sound_order` and `tables`.
Start with `summary`: what is summed up.
"""
