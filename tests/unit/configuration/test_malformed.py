"""Addresses and keys that cannot work are refused, with how to write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.configuration.loader import load
from edge.core.errors import ConfigError


def faults(folder: Path, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(folder, None, overrides, {})
    return str(caught.value)


@pytest.mark.parametrize("key", ["s3.endpoint_url", "s3.public_endpoint_url", "http.url"])
@pytest.mark.parametrize(
    "address", ["s3.example.com", "s3.example.com:9000", "//s3.example.com", "https://", "ftp://a", "http://a:port"]
)
def test_an_address_without_scheme_or_host_is_refused(tmp_path: Path, key: str, address: str) -> None:
    found = faults(tmp_path, f"{key}={address}")
    assert found == f"--set {key}: '{address}' is not a web address; write https://HOST or http://HOST:PORT"


@pytest.mark.parametrize(("prefix", "better"), [("/sounds/", "sounds/"), ("//a/", "a/"), ("/", "nothing")])
def test_a_prefix_that_begins_with_a_slash_is_refused(tmp_path: Path, prefix: str, better: str) -> None:
    found = faults(tmp_path, f"s3.prefix={prefix}")
    assert found == f"--set s3.prefix: keys in a bucket must not begin with /; write {better}"


@pytest.mark.parametrize("bucket", ["s3://garden", "garden/sounds", "https://garden.example.com"])
def test_an_address_as_bucket_is_refused(tmp_path: Path, bucket: str) -> None:
    assert "is not a bucket's name; write the name alone" in faults(tmp_path, f"s3.s3_bucket_name={bucket}")


@pytest.mark.parametrize("api_key", ["foo", "app.key:", ":secret", "a b:c"])
def test_a_malformed_ably_key_is_refused_and_never_quoted(tmp_path: Path, api_key: str) -> None:
    found = faults(tmp_path, f"ably.api_key={api_key}")
    assert found == "--set ably.api_key: is malformed; write name:secret, such as app.key:secret"


def test_well_formed_ones_are_taken(tmp_path: Path) -> None:
    well_formed = (
        "s3.endpoint_url=http://[::1]:9000/base", "s3.public_endpoint_url=https://s3.example.com", "s3.prefix=",
        "s3.s3_bucket_name=arn:aws:s3:eu-central-1:123456789012:accesspoint/garden", "ably.api_key=app.key:s/e+c:r=",
    )  # fmt: skip
    load(tmp_path, None, well_formed, {})


@pytest.mark.parametrize("key", ["s3.endpoint_url", "s3.public_endpoint_url", "http.url", "s3.s3_bucket_name"])
@pytest.mark.parametrize("login", ["me:hunter2@", "me:hunter2/x@y@", "hunter2@"])
@pytest.mark.parametrize("scheme", ["https://", "http://", "//", ""])
def test_a_login_in_an_address_is_never_quoted(tmp_path: Path, key: str, login: str, scheme: str) -> None:
    found = faults(tmp_path, f"{key}={scheme}{login}s3.example.com:/")
    assert "hunter2" not in found
    assert f"{scheme}***@s3.example.com" in found
