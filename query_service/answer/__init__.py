"""From spool and catalog to answers: one computation for each query type, and the facts they share.

May import `core`, `configuration`, `catalog`, `rollup`, `spool`, `store`, `queries` and, for clips, `client` and
`sound`.
Start with `node_answers`: a request to an answer; `facts` gathers what is known.
"""
