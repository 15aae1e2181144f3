"""Sound from chunks: fetched, cut to the sample, decrypted, exported; and, while it is recorded, heard live.

May import `core`, `configuration`, `spool`, `client` and `queries`. Start with `fetch`; with `live` for live listening.
"""
