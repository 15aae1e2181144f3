"""The edge node: records, archives and catalogs sound, and carries its messages. Never imports `query_service`.

Start with `recorder.service` and `archiver.service`: the two processes, each wired in one place.
"""

__version__ = "0.1.0"
