"""The command line: options, help, times, output, logs.

`parser` and `help_texts` import nothing of the project, so that `--help` is instant.
"""
