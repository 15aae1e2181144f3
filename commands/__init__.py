"""The subcommands of `imhearing`, one file each; each is imported only when it runs.

May import `edge` and `query_service`. Start with `services`: how the node's processes are run.
"""
