"""`imhearing doctor`: tests each part of the node, and says how to fix what fails.

One file per part, one function per check; `checks` lists the parts. Start with `doctor`.
"""
