"""The command line: options, help, times, output, logs.

May import `core`, `configuration`, `spool.home` and `query_service`. Start with `parser`, which with `help_texts`
imports nothing of the project, so that `--help` is instant.
"""
