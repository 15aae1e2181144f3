"""One connection to Ably (`link`), and the tokens for it (`tokens`).

May import `core` and `configuration`. Start with `link`.
"""
