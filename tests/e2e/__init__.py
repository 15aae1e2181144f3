"""Fewer than three files because one path leads from the microphone to a remote client."""
