"""MQTT: the bus, events, commands, access rights, Home Assistant."""
