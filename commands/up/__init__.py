"""`imhearing up`: a whole node in one terminal.

`plan` decides what to start, `local_node` runs it, `display` and `screen` show it.
May import `edge`, `page`, `realtime`, `cli` and `show`. Start with `up`: the command.
"""
