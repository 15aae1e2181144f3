"""Answers what was recorded when, through Ably, MQTT, HTTP or the command line."""
