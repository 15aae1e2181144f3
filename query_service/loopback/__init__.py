"""A realtime server for this machine only, with as much of the Ably protocol as the official SDKs need here.

Imports `edge`, `realtime.tokens` and `doors.listening`. Start with `server`, then `hub`: the life of a connection.
"""
