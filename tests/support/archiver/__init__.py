"""Parts of the archiver, its service in a thread, and an archiver that a test runs turn by turn."""
