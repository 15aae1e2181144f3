"""The broker and the object store that `imhearing up` starts if none is configured, and the supervisor of its children.

May import `core`. Start with `supervisor`.
"""
