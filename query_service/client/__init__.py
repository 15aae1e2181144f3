"""Clients that query nodes from anywhere: one file per way, and what they share (pages, retries, fleet, watching).

May import `edge`, `queries` and `realtime`, never `answer`: a client asks nodes. Start with `paging`.
"""
