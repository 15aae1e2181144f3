"""A realtime server for this machine only, with as much of the Ably protocol as the official SDKs need here.

May import `core`, `configuration`, `realtime` and `http_listener`.
Start with `server`, then `hub`: the life of a connection.
"""
