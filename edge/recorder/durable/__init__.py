"""From samples to files that survive a crash."""
