"""The budget of a question in tests of what is answered: a busy machine must not cut it short."""

from __future__ import annotations

from edge.catalog.budget import Budget


def untimed() -> Budget:
    """Limits rows and bytes as for every question, but its clock stands still."""
    return Budget(cpu_clock=lambda: 0.0)
