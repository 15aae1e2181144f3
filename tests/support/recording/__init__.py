"""Recorders: in a process of their own, on scripted input, killed at chosen points; and a virtual microphone."""
