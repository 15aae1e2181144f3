"""One connection to Ably (`link`), and the tokens for it (`tokens`).

Imports `edge` only; used by the Ably door, the client, doctor and the local realtime server.
"""
