"""What tests share, by subject. Nothing here starts with `test_`; a server or a process is a context manager."""
