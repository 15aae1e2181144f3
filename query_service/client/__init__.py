"""Clients that query nodes from anywhere: one file per way, and what they share (pages, retries, fleet, watching).

May import `core`, `configuration`, `messaging`, `queries` and `realtime`. Clients query nodes: they never reach
`answer`. Start with `paging`: the interface of every way to a node, and queries through it.
"""
