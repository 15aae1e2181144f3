"""Sound from chunks: fetched, cut to the sample, decrypted, exported.

May import `core`, `configuration`, `client` and `queries`. Start with `fetch`.
"""
