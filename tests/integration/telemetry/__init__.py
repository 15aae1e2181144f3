"""Fewer than three files because metrics need no running service: see tests/unit/telemetry."""
