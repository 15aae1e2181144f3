"""Querying nodes from anywhere, page by page: over Ably, MQTT or HTTP. Reaches no code that answers.

May import `core`, `configuration`, `messaging`, `queries` and `realtime`.
Start with `paging`: the interface of every way to a node, and queries through it.
"""
