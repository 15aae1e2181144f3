"""What goes into which archive, its exact bytes, and what an upload may cost.

May import `core`, `configuration`, `catalog` and `store`.
Start with `plan`: chunks to plans; `bundle` gives a plan's bytes.
"""
