"""From spool and catalog to answers: one computation for each query type.

May import `core`, `configuration`, `catalog`, `spool`, `store`, `client`, `queries` and `sound`.
Start with `responder`: a request to an answer; `tiling` cuts time into intervals.
"""
