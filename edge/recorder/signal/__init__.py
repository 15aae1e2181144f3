"""Measurements of samples: levels, sounds, calibration, faults of the input.

May import `core` and `configuration`. Start with `levels`: weighted levels per second; `sounds` detects with them.
"""
