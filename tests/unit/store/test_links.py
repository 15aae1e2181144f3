"""Presigned links equal those of botocore's client, for every kind of store, bucket and key."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from unittest.mock import patch

import boto3
import pytest
from botocore.config import Config
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st

from edge.configuration.settings import S3, Secret
from edge.core.errors import StoreBlocked
from edge.store.links import Links

REGIONS = (
    "us-east-1",
    "eu-central-1",
    "ap-southeast-2",
    "us-gov-west-1",
    "cn-north-1",
    "us-iso-east-1",
    "us-isob-east-1",
)
ENDPOINTS = (
    "",
    "http://127.0.0.1:9000",
    "http://[::1]:9000",
    "http://localhost:3900",
    "http://store.local",
    "https://s3.example.com",
    "https://s3.example.com:443/",
    "https://s3.example.com:9000/base/path/",
    "https://S3.Eu-Central-003.Backblazeb2.com",
)
BUCKETS = st.one_of(
    st.sampled_from(["garden", "sounds.of.the.garden", "Garden", "a_b_c", "a-b", "x" * 63, "1a.2b", "-ab", "ab-"]),
    st.from_regex(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", fullmatch=True),
)
KEYS = st.text(st.characters(codec="utf-8", min_codepoint=1), min_size=1, max_size=60)


def by_the_client(
    bucket: str, key: str, region: str, endpoint: str, style: str, token: str | None, seconds: int
) -> str:
    addressing: Any = {"addressing_style": style}
    client: Any = boto3.session.Session().client(
        "s3",
        region_name=region,
        endpoint_url=endpoint or None,
        aws_access_key_id="ID",
        aws_secret_access_key="secret/+",
        aws_session_token=token,
        config=Config(signature_version="s3v4", s3=addressing),
    )
    parameters = {"Bucket": bucket, "Key": key}
    return str(client.generate_presigned_url("get_object", Params=parameters, ExpiresIn=seconds))


@settings(max_examples=25, deadline=None, phases=set(Phase) - {Phase.shrink})  # each makes a client
@given(
    bucket=BUCKETS, key=KEYS, region=st.sampled_from(REGIONS), endpoint=st.sampled_from(ENDPOINTS),
    style=st.sampled_from(["path", "virtual"]), token=st.none() | st.just("token/+="), seconds=st.integers(1, 604_800),
)  # fmt: skip
def test_a_link_equals_the_clients(
    bucket: str, key: str, region: str, endpoint: str, style: Literal["path", "virtual"],
    token: str | None, seconds: int,
) -> None:  # fmt: skip
    # botocore's address is then sounds.of.the.garden.127.0.0.1, which is none
    assume(not ("." in bucket and style == "virtual" and ("127.0.0.1" in endpoint or "::1" in endpoint)))
    own = "" if token else "ID", "" if token else "secret/+"
    store = S3(
        s3_region=region, endpoint_url=endpoint, addressing=style,
        access_key_id=Secret(own[0]), secret_access_key=Secret(own[1]),
    )  # fmt: skip
    environment = {"AWS_ACCESS_KEY_ID": "ID", "AWS_SECRET_ACCESS_KEY": "secret/+", "AWS_SESSION_TOKEN": token or ""}
    with patch.dict("os.environ", environment), patch("botocore.auth.get_current_datetime") as now:
        now.return_value = datetime(2026, 3, 3, 22, 0, 5)
        made = Links(store).sign(bucket, key, seconds)
        assert made == by_the_client(bucket, key, region, endpoint, style, token, seconds)


@pytest.mark.parametrize("endpoint", ["store.example.com", "ftp://a", "https://a.example.com?b=c"])
def test_an_impossible_address_is_a_fault_of_the_settings(endpoint: str) -> None:
    store = S3(access_key_id=Secret("ID"), secret_access_key=Secret("secret"), endpoint_url=endpoint)
    with pytest.raises(StoreBlocked, match=r"check \[s3\] s3_bucket_name, s3_region and endpoint_url"):
        Links(store).sign("garden", "key", 60)


def test_a_bucket_that_no_store_can_have_is_refused() -> None:
    store = S3(access_key_id=Secret("ID"), secret_access_key=Secret("secret"))
    with pytest.raises(StoreBlocked, match="is no name of a bucket"):
        Links(store).sign("../other", "key", 60)


def test_without_credentials_it_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    with pytest.raises(StoreBlocked, match="set \\[s3\\] access_key_id and secret_access_key"):
        Links(S3()).sign("garden", "key", 60)
    with pytest.raises(StoreBlocked, match="set \\[s3\\] access_key_id and secret_access_key"):
        Links(S3(access_key_id=Secret("ID"))).sign("garden", "key", 60)


def test_an_endpoint_of_the_aws_tools_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://store.example.com")
    store = S3(access_key_id=Secret("ID"), secret_access_key=Secret("secret"), addressing="path")
    assert Links(store).sign("garden", "a", 60).startswith("https://store.example.com/garden/a?")
