"""A request without TLS on a port with TLS: a browser is led on, others learn what is wrong."""

from __future__ import annotations

import pytest

from query_service.doors.handshake import plain_answer


@pytest.mark.parametrize(
    ("head", "location"),
    [
        (b"GET / HTTP/1.1\r\nHost: pi.local:8480\r\n\r\n", b"https://pi.local:8480/"),
        (
            b"GET /days?from=a&to=b HTTP/1.1\r\nAccept: x\r\nhost: [::1]:8480\r\n\r\n",
            b"https://[::1]:8480/days?from=a&to=b",
        ),
        (b"HEAD /x HTTP/1.0\r\nHost: 10.0.0.1\r\n", b"https://10.0.0.1/x"),
    ],
)
def test_a_browser_is_led_to_the_same_address_with_tls(head: bytes, location: bytes) -> None:
    answer = plain_answer(head)
    assert answer.startswith(b"HTTP/1.1 308 ")
    assert b"\r\nLocation: " + location + b"\r\n" in answer


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\0\1\2",
        b"POST /session HTTP/1.1\r\nHost: pi.local\r\n\r\n{}",  # it may hold a password, and must not come again
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x/y\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET http://evil.example/ HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
def test_anything_else_is_a_bad_request(head: bytes) -> None:
    answer = plain_answer(head)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"Location" not in answer
    assert b"https://" in answer
