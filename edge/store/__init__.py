"""The object store: an interface with its own values and errors, and its implementation for S3.

May import `core` and `configuration`. Start with `interface`.
"""
