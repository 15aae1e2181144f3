"""What the owner configures: settings, the recording schedule, calibration.

May import `core`. Start with `settings`: every setting with its unit, default and bounds; `loader` reads them.
"""
