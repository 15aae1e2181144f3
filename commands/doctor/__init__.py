"""`imhearing doctor`: tests each part of the node, and says how to fix what fails.

One file per subject, one function per check; `doctor` lists the parts.
May import `edge`, `query_service`, `cli`, `show` and `up`. Start with `doctor`.
"""
