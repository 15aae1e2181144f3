"""Why there is no connection to the MQTT broker, and which setting, file or certificate is at fault.

Where the broker gives no reason, its port is probed: with TLS, and with a CONNECT of MQTT 5 and of MQTT 3.1.1. A probe
carries no credentials.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from typing import Any, Literal, NamedTuple

from edge.configuration.settings import Mqtt
from edge.core.errors import ConfigError
from edge.messaging.login import TlsFileError, tls_context

_PROBE_SECONDS = 3.0
_CONNACK = 0x20
# OpenSSL's verification results: openssl-verification-options(1), x509_vfy.h
_EXPIRED, _NOT_YET_VALID = 10, 9
_UNTRUSTED = (2, 7, 18, 19, 20, 21, 24)
_WRONG_NAME = (62, 64)
# MQTT 5, 2.4 Reason Code
_UNSUPPORTED_VERSION = 0x84
_BAD_LOGIN = (0x86, 0x87, 0x8C)

Ending = Literal["lost", "refused", "unreachable"]
Cause = Literal[
    "unreachable", "needs_tls", "no_tls", "not_mqtt", "mqtt_3",
    "wrong_name", "untrusted", "expired", "not_yet_valid", "bad_certificate",
    "client_certificate", "ca_file", "cert_file", "login", "refused", "lost",
]  # fmt: skip


class Trouble(NamedTuple):
    """Why there is no connection: how the last one ended, a sentence for people, and the cause."""

    ending: Ending
    text: str
    cause: Cause


class CertificateNames(NamedTuple):
    """What a certificate is valid for. The common name counts only without alternatives, and never for an address."""

    alternative: tuple[str, ...]
    common: tuple[str, ...]


def of_file(problem: TlsFileError) -> Trouble:
    """A certificate file that cannot be used; it is read again at the next attempt."""
    return Trouble("unreachable", str(problem), problem.key)


def of_failure(problem: Exception, settings: Mqtt) -> Trouble:
    """The connection could not be opened."""
    if isinstance(problem, ssl.SSLCertVerificationError):
        return _of_certificate(problem, settings)
    answered = isinstance(problem, ssl.SSLError | ConnectionError) and not isinstance(problem, ConnectionRefusedError)
    reason = getattr(problem, "strerror", None) or str(problem)
    if answered:
        return of_silence(reason, settings)
    return Trouble("unreachable", f"cannot connect to the MQTT broker at {settings.address}: {reason}", "unreachable")


def of_silence(failure: str, settings: Mqtt) -> Trouble:
    """The connection was closed before the broker accepted or refused it."""
    where = settings.address
    if settings.tls == "off" and _speaks_tls(settings):
        text = f"the MQTT broker at {where} expects TLS: set [mqtt] tls = on, or use its port without TLS"
        return Trouble("unreachable", text, "needs_tls")
    if settings.tls == "on" and _answers(settings, None, 4):
        text = f"the MQTT broker at {where} does not speak TLS: set [mqtt] tls = off, or use its TLS port"
        return Trouble("unreachable", text, "no_tls")
    with contextlib.suppress(ConfigError):  # the files were there a moment ago
        context = tls_context(settings)
        if context is not None and _requires_certificate(settings, context):
            text = f"the MQTT broker at {where} requires a client certificate: set [mqtt] cert_file and key_file"
            return Trouble("unreachable", text, "client_certificate")
        if not _answers(settings, context, 5) and _answers(settings, context, 4):
            return _of_old_broker(where)
    text = f"{where} does not answer as an MQTT broker ({failure}); check [mqtt] host and port"
    return Trouble("unreachable", text, "not_mqtt")


def of_refusal(code: int, reason: str, settings: Mqtt) -> Trouble:
    """The broker refused the connection, with a reason code of MQTT 5."""
    where = settings.address
    if code == _UNSUPPORTED_VERSION:
        return _of_old_broker(where)
    if code in _BAD_LOGIN:
        text = f"the MQTT broker at {where} refused the login: {reason}; check [mqtt] username and password"
        return Trouble("refused", text, "login")
    return Trouble("refused", f"the MQTT broker at {where} refused the connection: {reason}", "refused")


def of_loss(reason: str) -> Trouble:
    """An open connection ended."""
    return Trouble("lost", f"lost the connection to the MQTT broker ({reason})", "lost")


def certificate_names(settings: Mqtt) -> CertificateNames:
    """The names in the broker's certificate; none if it is not trusted or cannot be fetched."""
    try:
        context = tls_context(settings)
        if context is None:
            return CertificateNames((), ())
        context.check_hostname = False
        with _open(settings, context) as broker:
            certificate = broker.getpeercert() if isinstance(broker, ssl.SSLSocket) else None
    except (OSError, ConfigError):
        return CertificateNames((), ())
    fields: dict[str, Any] = dict(certificate or {})
    return CertificateNames(
        tuple(name for kind, name in fields.get("subjectAltName", ()) if kind in ("DNS", "IP Address")),
        tuple(text for part in fields.get("subject", ()) for key, text in part if key == "commonName"),
    )


def _of_old_broker(where: str) -> Trouble:
    text = f"the MQTT broker at {where} speaks only versions before MQTT 5: use another, such as Mosquitto 1.6 or later"
    return Trouble("refused", text, "mqtt_3")


def _of_certificate(problem: ssl.SSLCertVerificationError, settings: Mqtt) -> Trouble:
    code, reason = problem.verify_code, problem.verify_message
    certificate = f"the certificate of the MQTT broker at {settings.address}"
    if code in _WRONG_NAME:
        text = f"{certificate} {_describe_names(settings)}; set [mqtt] host to a name in it, or renew it for this one"
        return Trouble("unreachable", text, "wrong_name")
    if code in _UNTRUSTED:
        ca = f"the CA in [mqtt] ca_file = {settings.ca_file}" if settings.ca_file else "a known CA; set [mqtt] ca_file"
        return Trouble("unreachable", f"{certificate} is not signed by {ca} ({reason})", "untrusted")
    if code == _EXPIRED:
        return Trouble("unreachable", f"{certificate}, or its CA's, has expired: renew it", "expired")
    if code == _NOT_YET_VALID:
        return Trouble(
            "unreachable", f"{certificate} is not valid yet: is this machine's clock right?", "not_yet_valid"
        )
    hint = (
        "" if settings.ca_file else "; if you trust its CA, name that in [mqtt] ca_file, which is checked less strictly"
    )
    return Trouble("unreachable", f"{certificate} is rejected: {reason}{hint}", "bad_certificate")


def _describe_names(settings: Mqtt) -> str:
    names = certificate_names(settings)
    if names.alternative:
        return f"is valid for {', '.join(names.alternative)}, not for {settings.host}"
    common = f", only the common name {', '.join(names.common)}" if names.common else ""
    return f"has no subjectAltName{common}, and is not valid for {settings.host}"


def _speaks_tls(settings: Mqtt) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # nothing is sent to it
    try:
        _open(settings, context).close()
    except ssl.SSLError as problem:
        return "ALERT" in (problem.reason or "")  # it refuses us, in TLS
    except OSError:
        return False
    return True


def _requires_certificate(settings: Mqtt, context: ssl.SSLContext) -> bool:
    """TLS 1.3 says so after the handshake, and only to a client that does not write meanwhile (its alert is lost)."""
    try:
        with _open(settings, context) as broker:
            broker.recv(1)
    except ssl.SSLError as problem:
        return "CERTIFICATE" in (problem.reason or "")
    except OSError:  # nothing comes: as it should be
        pass
    return False


def _answers(settings: Mqtt, context: ssl.SSLContext | None, version: int) -> bool:
    """Whether a CONNECT of this protocol version (5: MQTT 5, 4: MQTT 3.1.1) is acknowledged."""
    properties = b"\0" if version == 5 else b""
    packet = b"\0\4MQTT" + bytes([version, 2]) + b"\0\x3c" + properties + b"\0\0"  # clean session, no client id
    try:
        with _open(settings, context) as broker:
            broker.sendall(bytes([0x10, len(packet)]) + packet)
            return broker.recv(1) == bytes([_CONNACK])
    except OSError:
        return False


def open_socket(settings: Mqtt) -> socket.socket:
    """A connection to the broker's address, without TLS. OSError."""
    if settings.socket_path is None:
        return socket.create_connection((settings.host, settings.port), _PROBE_SECONDS)
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    opened.settimeout(_PROBE_SECONDS)
    try:
        opened.connect(settings.socket_path)
    except OSError:
        opened.close()
        raise
    return opened


def _open(settings: Mqtt, context: ssl.SSLContext | None) -> socket.socket:
    opened = open_socket(settings)
    return opened if context is None else context.wrap_socket(opened, server_hostname=settings.host)
