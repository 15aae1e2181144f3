"""All that the contract imports from the product's packages: what no command, file or socket shows."""

from edge.configuration.loader import example_ini
from edge.configuration.settings import Secret, Settings

__all__ = ["Secret", "Settings", "example_ini"]
