"""The HTTP door: whether it may listen where it is set to, and whether it does, or could."""

from __future__ import annotations

import socket
import urllib.error
from collections.abc import Iterator

from commands.doctor.clock import open_address
from commands.doctor.finding import Finding, Patient, fault, ok
from edge.core.errors import ConfigError
from edge.embedded import ports

_SECONDS = 3.0
_ANY = ("0.0.0.0", "::", "")  # noqa: S104 - to know it, not to listen there


def look(patient: Patient) -> Iterator[Finding]:
    if not patient.settings.http.port:
        yield ok("http.door", "no HTTP door ([http] port = 0)")
        return
    allowed = is_allowed(patient)
    yield allowed
    if allowed.state != "fault":
        yield answers_or_could(patient)


def is_allowed(patient: Patient) -> Finding:
    from query_service.doors.http import check_settings  # noqa: PLC0415 -- aiohttp, 20 MB

    try:
        check_settings(patient.settings.http)
    except ConfigError as problem:
        return fault("http.settings", str(problem), patient.configure("http.token=-"))
    return ok("http.settings", "it asks for a token, or is for this machine alone")


def answers_or_could(patient: Patient) -> Finding:
    """A node that runs answers; for one that does not, the port must be free."""
    check, settings = "http.door", patient.settings.http
    host = "127.0.0.1" if settings.host in _ANY else settings.host
    where = f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"
    try:
        with open_address(f"{where}/openapi.json", _SECONDS) as answer:
            if b"openapi" in answer.read(100_000):
                return ok(check, f"{where} answers")
    except urllib.error.HTTPError as refusal:
        refusal.close()
        if refusal.code == 401 and settings.token.reveal():
            return ok(check, f"{where} answers, and asks for the token")
    except ConnectionRefusedError:
        pass
    except (OSError, ValueError) as problem:
        if not isinstance(getattr(problem, "reason", None), ConnectionRefusedError):
            return _taken(patient, f"{where} is somebody else's ({problem})")
    return _is_free(patient, host, where)


def _is_free(patient: Patient, host: str, where: str) -> Finding:
    port = patient.settings.http.port
    try:
        socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError as problem:
        return _taken(patient, f"{where} cannot be used ({problem.strerror})")
    return ok("http.door", f"{where} is free for the query service, which does not run")


def _taken(patient: Patient, told: str) -> Finding:
    free = ports.choose(min(patient.settings.http.port + 1, 65_535))
    return fault("http.door", told, patient.configure(f"http.port={free}"))
