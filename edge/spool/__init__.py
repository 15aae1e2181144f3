"""The spool: finished chunks on the local disk, and the limits that they are measured against."""
