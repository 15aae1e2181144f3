"""A server's certificate and key: what cannot be used is named, and what can says until when."""

from __future__ import annotations

import contextlib
import ssl
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edge.core.certificates import client_context, expiry, server_context
from edge.core.errors import CertificateFault
from tests.support.messaging.odd_brokers import make_certificate, make_plain_ca, openssl


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_plain_ca(tmp_path)
    make_certificate(tmp_path, "porch", "DNS:porch.local", days=30)
    return tmp_path


def pair(folder: Path) -> tuple[str, str]:
    return str(folder / "server.crt"), str(folder / "server.key")


def test_a_certificate_says_until_when_it_is_valid(folder: Path) -> None:
    left = expiry(*pair(folder)) / 1e6 - time.time()
    assert 29 * 86_400 < left < 31 * 86_400


def test_the_key_may_be_in_the_certificates_file(folder: Path) -> None:
    both = folder / "both.pem"
    both.write_text((folder / "server.key").read_text() + (folder / "server.crt").read_text())
    assert expiry(str(both), "") == expiry(*pair(folder))


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def make_unreadable(folder: Path) -> None:
    (folder / "server.key").unlink()
    (folder / "server.key").mkdir()  # root may read any file


def other_key(folder: Path) -> None:
    key = folder / "server.key"
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-subj", "/CN=x")


def passphrase(folder: Path) -> None:
    key = folder / "server.key"
    subprocess.run(
        ["openssl", "ec", "-aes256", "-passout", "pass:secret", "-in", key, "-out", key],
        check=True,
        capture_output=True,
    )


def no_pem(folder: Path) -> None:
    (folder / "server.crt").write_bytes(b"\x30\x82 DER")


def no_key(folder: Path) -> None:
    (folder / "server.key").write_text("nothing")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (remove("server.crt"), r"server\.crt: cannot be read \(No such file"),
        (remove("server.key"), r"server\.key: cannot be read \(No such file"),
        (make_unreadable, r"server\.key: cannot be read \(Is a directory"),
        (other_key, r"server\.crt and .*server\.key: cannot be used \(the key belongs to another certificate\)"),
        (passphrase, "the key has a passphrase"),
        (no_pem, "they must be a PEM certificate and its key"),
        (no_key, "they must be a PEM certificate and its key"),
        (lambda folder: make_certificate(folder, "x", "DNS:x", days=-1), "has expired; renew it"),
    ],
)
def test_what_cannot_be_used_is_named(folder: Path, spoil: Callable[[Path], None], message: str) -> None:
    spoil(folder)
    with pytest.raises(CertificateFault, match=message):
        expiry(*pair(folder))


def test_an_expired_certificate_is_served_all_the_same(folder: Path) -> None:
    """A browser lets its user decide; a door that is shut does not."""
    make_certificate(folder, "x", "DNS:x", days=-1)
    server_context(*pair(folder))


def test_a_client_trusts_this_very_certificate_and_no_other_of_its_ca(folder: Path) -> None:
    trusted = client_context(str(folder / "server.crt"))
    assert trusted.verify_mode is ssl.CERT_REQUIRED
    make_certificate(folder, "other", "DNS:other")
    there = server_context(*pair(folder))
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server, client = there.wrap_bio(to_server, to_client, server_side=True), trusted.wrap_bio(to_client, to_server)
    for _ in range(2):  # until the client has read the certificate
        with contextlib.suppress(ssl.SSLWantReadError):
            server.do_handshake()
        if to_client.pending:
            break
        with contextlib.suppress(ssl.SSLWantReadError):
            client.do_handshake()
    with pytest.raises(ssl.SSLCertVerificationError):
        client.do_handshake()


def test_a_client_cannot_trust_what_is_no_certificate(folder: Path) -> None:
    with pytest.raises(CertificateFault, match="is no PEM certificate"):
        client_context(str(folder / "server.key"))
