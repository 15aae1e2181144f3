"""The node in numbers: metrics and the daily report.

May import `core`, `configuration`, `messaging`, `spool`, `client` and `queries`.
Start with `reporting`, which gathers the figures.
"""
