"""The node in numbers: metrics and the daily report."""
