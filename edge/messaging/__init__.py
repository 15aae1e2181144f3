"""MQTT: the bus, events, commands, access rights, Home Assistant.

May import `core` and `configuration`.
Start with `events`: what a node publishes; `commands`: what it can be ordered to do; `bus`: how both travel.
"""
