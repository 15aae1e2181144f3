"""HTTP requests to the store and the HTTP door, and what to do if the store does not answer."""

from __future__ import annotations

import urllib.request
from http.client import HTTPResponse
from urllib.parse import urlsplit

from commands.doctor.node_under_test import NodeUnderTest
from edge.configuration.settings import S3

_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


def store_url(s3: S3) -> str:
    return s3.endpoint_url or f"https://s3.{s3.s3_region}.amazonaws.com"


def reach_store(node: NodeUnderTest) -> str:
    """The remedy if the store does not respond."""
    host = urlsplit(store_url(node.settings.s3)).hostname
    if host not in _LOOPBACK:
        return f"ping -c 3 {host}  # if the network is up: {node.configure('s3.endpoint_url=')}"
    if node.by_up:
        return node.up()
    return f"start the store, or use another: {node.configure('s3.endpoint_url=https://HOST')}"


def open_url(url: str, timeout: float) -> HTTPResponse:
    """GETs an http(s) URL, through $http_proxy unless it is on this machine. OSError, ValueError."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        raise ValueError("not an http URL")
    proxies = urllib.request.ProxyHandler({} if parts.hostname in _LOOPBACK else None)
    response: HTTPResponse = urllib.request.build_opener(proxies).open(url, timeout=timeout)
    return response
