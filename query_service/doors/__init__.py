"""Ably, MQTT and HTTP: they carry queries in and answers out."""
