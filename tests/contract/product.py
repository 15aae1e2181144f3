"""All that the contract imports from the product's packages: what no command, file or socket shows."""

from edge.configuration.loader import example_ini
from edge.configuration.settings import Secret, Settings
from edge.messaging.asyncapi import text as asyncapi_text

__all__ = ["Secret", "Settings", "asyncapi_text", "example_ini"]
