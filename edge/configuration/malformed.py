"""Addresses and keys that cannot work, refused before a service tries them for ever. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from edge.configuration.settings import Mqtt, Settings

_WEB_ADDRESS = re.compile(r"https?://([^\s/:?#@[\]]+|\[[0-9A-Fa-f:.]+\])(:[1-9][0-9]{0,4})?(/\S*)?")
API_KEY = re.compile(r"([A-Za-z0-9._-]+):([\x21-\x7e]+)")  # of Ably: name, secret


def malformed(settings: Settings) -> Iterator[tuple[str, str, str]]:
    """(section, key, what is wrong and how to write it) of each; quotes no secret."""
    yield from _malformed_socket(settings.mqtt)
    s3 = settings.s3
    addresses = (
        ("s3", "endpoint_url", s3.endpoint_url),
        ("s3", "public_endpoint_url", s3.public_endpoint_url),
        ("http", "url", settings.http.url),
    )
    for section, key, address in addresses:
        if address and not _WEB_ADDRESS.fullmatch(address):
            yield section, key, f"{quotable(address)!r} is not a web address; write https://HOST or http://HOST:PORT"
    if s3.prefix.startswith("/"):
        better = s3.prefix.lstrip("/")
        yield "s3", "prefix", f"keys in a bucket must not begin with /; write {better or 'nothing'}"
    if re.search("[/:]", s3.s3_bucket_name) and not s3.s3_bucket_name.startswith("arn:"):  # of an access point
        yield "s3", "s3_bucket_name", f"{quotable(s3.s3_bucket_name)!r} is not a bucket's name; write the name alone"
    api_key = settings.ably.api_key.reveal()
    if api_key and not API_KEY.fullmatch(api_key):
        yield "ably", "api_key", "is malformed; write name:secret, such as app.key:secret"


def quotable(address: str) -> str:
    """An address as it may be shown: what is before an @ can be a password."""
    login, at, rest = address.rpartition("@")
    scheme = re.match(r"\w*:?//", login)
    return f"{scheme[0] if scheme else ''}***@{rest}"[:80] if at else address[:80]


def _malformed_socket(mqtt: Mqtt) -> Iterator[tuple[str, str, str]]:
    if mqtt.socket_path is None:
        return
    if not mqtt.socket_path:
        yield "mqtt", "host", "the path of the broker's socket is missing; write unix:PATH"
    if mqtt.tls == "on":
        yield "mqtt", "tls", "does not apply to a Unix socket, which never leaves this machine; write off"
    if mqtt.transport != "tcp":
        yield "mqtt", "transport", "does not apply to a Unix socket; write tcp"
