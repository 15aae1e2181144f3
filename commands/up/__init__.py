"""`imhearing up`: a whole node in one terminal.

`up` is the command: `plan` decides what to start, `local_node` runs it, `display` and `screen` show it.
"""
