"""Ably, MQTT and HTTP: they carry queries in and answers out, and compute nothing.

May import `core`, `configuration`, `messaging`, `page`, `queries`, `realtime`, `sound` and `telemetry`.
Start with `query_pipeline`: admission, deduplication and deadline of every query.
"""
