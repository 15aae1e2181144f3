"""The edge node: records, archives and catalogs sound. It never imports query_service."""

__version__ = "0.1.0"
