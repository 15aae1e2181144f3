"""The only file that imports boto3: clients of one store, made again when what they depend on changes."""

from __future__ import annotations

import functools
import logging
import ssl
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import boto3
from botocore.config import Config

from edge.configuration.settings import S3
from edge.core.errors import StoreBlocked
from edge.store.aws_files import State, state_of_aws_files
from edge.store.bounded_session import BoundedSession
from edge.store.links import style_of
from edge.store.paced_body import Pace, PacedBody

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_LOOPBACK = {"127.0.0.1", "localhost", "::1"}
_LOCK = threading.Lock()  # making clients is not thread-safe


class Clients:
    """A client per endpoint. `on_response` is botocore's handler of the event `needs-retry`: it sees every response.

    The AWS tools' credentials and `[s3] ca_file` may be renewed at any time: the next request uses what is there then.
    """

    def __init__(
        self, settings: S3, timeouts: tuple[float, float], pace: Pace | None, on_response: Callable[..., None]
    ) -> None:
        self._settings, self._timeouts, self._pace, self._on_response = settings, timeouts, pace, on_response
        self._clients: dict[str, S3Client] = {}
        self._state: State = ()
        self.region = settings.s3_region  # until the store names another one
        for name in ("boto3", "botocore", "urllib3", "s3transfer"):
            logging.getLogger(name).setLevel(logging.WARNING)  # at DEBUG they log what is signed, and with which key

    def get(self, endpoint: str) -> S3Client:
        """StoreBlocked when `ca_file` cannot be used; the errors of botocore for other invalid settings."""
        with _LOCK:
            state = state_of_aws_files(self._settings.ca_file)
            if state != self._state:
                self._clients, self._state = {}, state
            return self._clients.get(endpoint) or self._connect(endpoint)

    def _slow_down(self, request: Any, **_rest: Any) -> None:
        """For a request that is signed: hashing its body takes no pace."""
        if self._pace is not None and request.body:
            request.body = PacedBody(request.body, self._pace)

    def use_region(self, region: str) -> None:
        """From the next request on."""
        with _LOCK:
            self.region, self._clients = region, {}

    def _connect(self, endpoint: str) -> S3Client:
        settings, (connect, read) = self._settings, self._timeouts
        address = urlsplit(endpoint)
        loopback, https = address.hostname in _LOOPBACK, address.scheme != "http"
        if settings.ca_file:
            _check_ca(settings.ca_file)
        config = Config(
            signature_version="s3v4",
            connect_timeout=connect,
            read_timeout=read,
            retries={"total_max_attempts": 1},
            max_pool_connections=4,
            request_checksum_calculation=settings.checksums,
            response_checksum_validation=settings.checksums,
            # Content-MD5 is signed and covers the body: hashing it again is only worth it over plain HTTP
            s3={"addressing_style": style_of(settings, endpoint), "payload_signing_enabled": not (loopback or https)},
            # a proxy of the environment cannot reach our own machine
            proxies={} if loopback else None,
        )
        client: S3Client = _session(self._state).client(
            "s3",
            region_name=self.region or None,
            endpoint_url=endpoint or None,
            verify=settings.ca_file or None,
            aws_access_key_id=settings.access_key_id.reveal() or None,
            aws_secret_access_key=settings.secret_access_key.reveal() or None,
            config=config,
        )
        sender = cast(Any, client)._endpoint  # botocore has no public place for it
        sender.http_session = BoundedSession(sender.http_session)
        client.meta.events.register_first("needs-retry.s3", self._on_response)  # before botocore follows redirections
        if self._pace is not None:
            client.meta.events.register("before-send.s3", self._slow_down)
        self._clients[endpoint] = client
        return client


@functools.lru_cache(maxsize=1)
def _session(_state: State) -> Any:
    """Shared, as reading the descriptions of the service takes long; a new one reads the credentials again."""
    return boto3.session.Session()


def _check_ca(path: str) -> None:
    """botocore would report an unreadable file as a broken connection."""
    try:
        ssl.create_default_context(cafile=path)
    except OSError as problem:
        text = problem.strerror or str(problem)
        raise StoreBlocked(
            f"[s3] ca_file = {path}: cannot be used ({text}); set it to the CA's certificate (PEM)",
            "tls",
            ("s3.ca_file=PATH/TO/ca.crt",),
        ) from None
