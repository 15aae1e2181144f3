"""What stands behind each door: from spool and catalog to answers."""
