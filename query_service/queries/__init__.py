"""The query types as every door and client speaks them: one declaration each.

May import `core` and `messaging`. Start with `protocol`: the request, and the table of query types.
"""
