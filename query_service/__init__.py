"""Answers what was recorded when, through Ably, MQTT, HTTP or the command line.

May import `core`, `configuration`, `messaging` and the packages below it; neither recorder nor archiver.
Start with `service`, the process; `api` is the Python interface for those who query.
"""
