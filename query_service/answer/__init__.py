"""From spool and catalog to answers, behind each door: one file per query type, and the facts they share.

May import `edge`, `queries` and, for clips, `sound` and `client.paging`. Start with `node_answers`, then `responder`.
"""
