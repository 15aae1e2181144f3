"""What the owner can set, and what follows from it: settings, schedules, calibration."""
