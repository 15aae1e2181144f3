"""An HTTP door with made-up answers, and a client that sends anything."""

from __future__ import annotations

import contextlib
import urllib.request
from typing import Any
from urllib.error import HTTPError

from msgspec.structs import replace

from edge.configuration.settings import Http, Secret
from query_service.doors.http import HttpDoor
from query_service.queries.protocol import Answer, Request
from query_service.queries.values import refusal
from tests.support.wait import DEADLINE

JSON = {"Content-Type": "application/json"}


def http_request(
    url: str, data: bytes | None = None, method: str | None = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    try:
        asked = urllib.request.Request(url, data, headers, method=method)  # noqa: S310
        with urllib.request.urlopen(asked, timeout=DEADLINE) as response:  # noqa: S310
            return response.status, dict(response.headers), response.read()
    except HTTPError as refused:
        return refused.code, dict(refused.headers), refused.read()


@contextlib.asynccontextmanager
async def fake_http_door(settings: Http, answer: Any = None) -> Any:
    async def made_up(request: Request, client: str) -> Answer:
        return refusal(request.id, "porch", "encrypted", "made up")

    door = HttpDoor("porch", answer or made_up, replace(settings, port=0))
    async with door.open():
        yield door.address


TOKEN = Secret("0123456789abcdef-token")
