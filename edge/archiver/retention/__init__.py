"""Everything that deletes sound: expiry, forget orders, room on the disk, copies of what the store has.

Every deletion passes `Deletions`. May import `core`, `configuration`, `catalog`, `spool`, `store`, `plan`, and of
its parent `jobs`, `pacing`, `rebuild` and `stored_manifests`. Start with `retention`.
"""
