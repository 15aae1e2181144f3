"""The broker and the object store that `imhearing up` starts if none is configured, and the supervisor of its children.

Imports `edge.core` only. Start with `supervisor`.
"""
