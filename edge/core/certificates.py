"""A server's certificate and key: read, checked, and trusted by clients on the same machine."""

from __future__ import annotations

import contextlib
import re
import ssl
from pathlib import Path

from edge.core.errors import CertificateFault
from edge.core.instant import Instant

_MAX_FILE = 1_000_000  # bytes
# OpenSSL's verification results: x509_vfy.h
_EXPIRED, _NOT_YET_VALID = 10, 9
_REASONS = {
    "KEY_VALUES_MISMATCH": "the key belongs to another certificate",
    "EE_KEY_TOO_SMALL": "the key is too short; make another",
}


def server_context(certificate: str, key: str) -> ssl.SSLContext:
    """What a server needs to speak TLS. `key` may be empty where the certificate's file holds it. CertificateFault."""
    for path in filter(None, (certificate, key)):
        _read(path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["http/1.1"])
    try:
        # a password, as OpenSSL would ask for one on the terminal
        context.load_cert_chain(certificate, key or None, password="")
    except (OSError, ssl.SSLError) as problem:
        reason = problem.reason if isinstance(problem, ssl.SSLError) else problem.strerror
        text = _REASONS.get(reason or "", "they must be a PEM certificate and its key")
        if "ENCRYPTED" in _read(key or certificate):
            text = "the key has a passphrase; store it without one"
        raise CertificateFault(f"{_named(certificate, key)}: cannot be used ({text})") from None
    return context


def client_context(certificate: str) -> ssl.SSLContext:
    """Trusts the server that has this very certificate, by whatever name it is reached. CertificateFault."""
    found = re.search("-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", _read(certificate), re.DOTALL)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        context.load_verify_locations(cadata=found[0] if found else "")
    except (ValueError, ssl.SSLError):
        raise CertificateFault(f"{certificate}: is no PEM certificate") from None
    return context


def expiry(certificate: str, key: str) -> Instant:
    """Until when the certificate is valid. CertificateFault: it is not now, or cannot be used with its key."""
    here, there = server_context(certificate, key), client_context(certificate)
    try:
        text = str(_shaken(here, there).get("notAfter", ""))
        return Instant.from_seconds(ssl.cert_time_to_seconds(text))
    except ssl.SSLCertVerificationError as problem:
        if problem.verify_code == _EXPIRED:
            raise CertificateFault(f"{certificate}: has expired; renew it") from None
        if problem.verify_code == _NOT_YET_VALID:
            raise CertificateFault(f"{certificate}: is not valid yet; is this machine's clock right?") from None
        raise CertificateFault(f"{certificate}: browsers reject it ({problem.verify_message})") from None
    except ssl.SSLError as problem:
        raise CertificateFault(f"{_named(certificate, key)}: cannot be used ({problem.reason})") from None


def _shaken(here: ssl.SSLContext, there: ssl.SSLContext) -> dict[str, object]:
    """What the client learns of the server's certificate in a handshake of the two, in memory."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = here.wrap_bio(to_server, to_client, server_side=True)
    client = there.wrap_bio(to_client, to_server)
    for _ in range(10):  # each reads what the other wrote
        with contextlib.suppress(ssl.SSLWantReadError):
            client.do_handshake()
            return dict(client.getpeercert() or {})
        with contextlib.suppress(ssl.SSLWantReadError):
            server.do_handshake()
    raise ssl.SSLError("no end of the handshake")


def _read(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            return file.read(_MAX_FILE).decode("latin-1")
    except OSError as problem:
        raise CertificateFault(f"{path}: cannot be read ({problem.strerror})") from None


def _named(certificate: str, key: str) -> str:
    return f"{certificate} and {key}" if key else certificate
