"""Fewer than three files because connections need the official SDK: see tests/integration/doors."""
