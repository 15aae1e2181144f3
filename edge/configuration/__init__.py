"""What the owner configures: settings, the recording schedule, calibration.

Imports `edge.core` only. Start with `settings`: every setting, its unit, default and bounds; `loader` reads them.
"""
