"""Everything that deletes sound: expiry, forget orders, room on the disk, copies of what the store has.

Every deletion passes `Deletions`. Start with retention.py. May import the spool, the catalog, the store's interface,
and the archiver's plans and jobs.
"""
