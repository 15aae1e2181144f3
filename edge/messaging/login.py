"""Who we are for the broker, and how we know it: user and password of each role, certificates."""

from __future__ import annotations

import ssl
from typing import Literal

from edge.configuration.settings import Mqtt, Secret
from edge.core.errors import ConfigError

Role = Literal["recorder", "archiver", "query", "control"]


def credentials(settings: Mqtt, role: Role) -> tuple[str, Secret]:
    """User name and password of `role`; the role's own password goes before the common one. Empty: anonymous."""
    own: Secret = getattr(settings, f"{role}_password")
    return settings.username.replace("{role}", role), own if own.reveal() else settings.password


def tls_context(settings: Mqtt) -> ssl.SSLContext | None:
    """How to check the broker and to show ourselves; None without TLS. ConfigError names the file that does not do."""
    if settings.tls == "off":
        return None
    try:
        context = ssl.create_default_context(cafile=settings.ca_file or None)
    except (OSError, ssl.SSLError) as problem:
        raise ConfigError([f"[mqtt] ca_file = {settings.ca_file}: {_reason(problem)}; it must be a PEM file"]) from None
    if not settings.cert_file:
        return context
    try:
        context.load_cert_chain(settings.cert_file, settings.key_file or None)
    except (OSError, ssl.SSLError) as problem:
        raise ConfigError(
            [
                f"[mqtt] cert_file = {settings.cert_file}, key_file = {settings.key_file}: {_reason(problem)};"
                " they must be a PEM certificate and its key, without a passphrase"
            ]
        ) from None
    return context


def _reason(problem: OSError) -> str:
    if isinstance(problem, ssl.SSLError):
        return f"cannot be used ({problem.reason or problem})"
    return problem.strerror or str(problem)
