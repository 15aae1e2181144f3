"""All that the contract imports from the product's packages: what no command, file or socket shows."""

from edge.asyncapi import text as asyncapi_text
from edge.config import example_ini
from edge.settings import Secret, Settings

__all__ = ["Secret", "Settings", "asyncapi_text", "example_ini"]
