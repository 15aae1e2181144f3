"""Fewer than three files because the daily report needs a running service: see tests/integration/telemetry."""
