"""Who we are for the broker, and how we know it: user and password of each role, certificates."""

from __future__ import annotations

import ssl
from typing import Literal

from edge.configuration.settings import Mqtt, Secret
from edge.core.errors import ConfigError

Role = Literal["recorder", "archiver", "query", "control", "page"]


class TlsFileError(ConfigError):
    """A certificate file cannot be used. `key`: the setting that names it."""

    def __init__(self, key: Literal["ca_file", "cert_file"], message: str) -> None:
        super().__init__([message])
        self.key: Literal["ca_file", "cert_file"] = key


def credentials(settings: Mqtt, role: Role) -> tuple[str, Secret]:
    """User name and password of `role`; the role's own password goes before the common one. Empty: anonymous."""
    own: Secret = getattr(settings, f"{role}_password")
    return settings.username.replace("{role}", role), own if own.reveal() else settings.password


def tls_context(settings: Mqtt) -> ssl.SSLContext | None:
    """How to verify the broker and identify ourselves; None without TLS. Raises TlsFileError.

    Python 3.13 verifies strictly (RFC 5280): it rejects a CA that plain `openssl req -x509` made, which lacks keyUsage.
    The owner chose the CA in `ca_file`, which OpenSSL's own programs, browsers and earlier Pythons accept: so do we.
    """
    if settings.tls == "off":
        return None
    try:
        context = ssl.create_default_context(cafile=settings.ca_file or None)
    except (OSError, ssl.SSLError) as problem:
        text = f"[mqtt] ca_file = {settings.ca_file}: {_reason(problem)}; it must be a PEM file"
        raise TlsFileError("ca_file", text) from None
    if settings.ca_file:
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if not settings.cert_file:
        return context
    try:
        # a password, as OpenSSL would ask for one on the terminal
        context.load_cert_chain(settings.cert_file, settings.key_file or None, password="")
    except (OSError, ssl.SSLError) as problem:
        raise TlsFileError(
            "cert_file",
            f"[mqtt] cert_file = {settings.cert_file}, key_file = {settings.key_file}: {_reason(problem)};"
            " they must be a PEM certificate and its key, without a passphrase",
        ) from None
    return context


def _reason(problem: OSError) -> str:
    if isinstance(problem, ssl.SSLError):
        return f"cannot be used ({problem.reason or problem})"
    return problem.strerror or str(problem)
