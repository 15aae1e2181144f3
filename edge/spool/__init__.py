"""The spool: finished chunks and small state files on the local disk, and the limits on them.

May import `core` and `configuration`. Start with `spool`: the parts of the spool; `layout` names the files.
"""
