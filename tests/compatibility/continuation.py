"""Recorder and archiver continue an old node's work; returns everything they produce that others can observe.

Only public interfaces are used, so the same steps run with the old code and with the current one.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import boto3
from botocore.config import Config

import imhearing
from tests.compatibility.fixture import BUCKET, NODE, PART, first_part
from tests.support.messaging.broker import running_broker
from tests.support.messaging.mqtt import Client, connected
from tests.support.store.fault_proxy import FaultProxy, running_proxy
from tests.support.store.s3 import RunningStore, running_store
from tests.support.wait import wait_until

_ROOT = Path(__file__).parents[2]
_TOPIC = f"imhearing/{NODE}"
_PATIENCE = 90.0  # seconds; generous, for busy machines
_COLUMNS = {  # without the times of this run
    "streams": "stream_id, ordinal, correction_due",
    "chunks": "chunk_id, stream_id, first_frame, frames, started_at, ended_at, uncertain, length, sha256, lafmax,"
    " state, reason, archive_id, offset",
    "archives": "archive_id, node, bucket, key, length, sha256, chunks, started_at, ended_at, replaces, gone,"
    " uploaded_at IS NOT NULL AS uploaded, plan IS NOT NULL AS planned, deleted_at IS NOT NULL AS deleted",
    "holes": "stream_id, cause, started_at, ended_at",
    "sounds": "sound_id, stream_id, chunk_id, started_at, ended_at, lafmax, laeq",
    "due": "chunk_id",
}
_MOMENTARY = frozenset({"id", "url", "urls", "expires", "expires_at"})  # fields of an answer that differ between runs


class OpenUpload(NamedTuple):
    """An interrupted multipart upload; `parts` are (number, bytes, ETag)."""

    key: str
    parts: list[tuple[int, int, str]]


def s3_client(store: RunningStore) -> Any:
    """A boto3 client independent of the product."""
    settings = store.settings
    return boto3.client(
        "s3",
        region_name=settings.s3_region,
        endpoint_url=settings.endpoint_url,
        aws_access_key_id=settings.access_key_id.reveal(),
        aws_secret_access_key=settings.secret_access_key.reveal(),
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}, proxies={}),
    )


def open_upload(store: RunningStore) -> OpenUpload:
    """The one open upload in the store."""
    client = s3_client(store)
    (upload,) = client.list_multipart_uploads(Bucket=BUCKET)["Uploads"]
    found = client.list_parts(Bucket=BUCKET, Key=upload["Key"], UploadId=upload["UploadId"]).get("Parts", [])
    return OpenUpload(upload["Key"], [(each["PartNumber"], each["Size"], each["ETag"].strip('"')) for each in found])


def begin_upload(store: RunningStore, data: Path) -> OpenUpload:
    """Starts the upload of the noise and sends part 1 only, as the old archiver did before it was killed."""
    with contextlib.closing(sqlite3.connect(data / "catalog.db")) as catalog:
        noise = "SELECT archive_id FROM chunks WHERE state = 'planned' AND length > 1000000"
        ((key,),) = catalog.execute(f"SELECT key FROM archives WHERE archive_id IN ({noise})")  # noqa: S608
    client = s3_client(store)
    upload = client.create_multipart_upload(Bucket=BUCKET, Key=key, ContentType="application/zip")["UploadId"]
    part = first_part(data)
    assert len(part) == PART
    client.upload_part(Bucket=BUCKET, Key=key, UploadId=upload, PartNumber=1, Body=part)
    return open_upload(store)


def options(*settings: str) -> list[str]:
    return [part for setting in (f"node.name={NODE}", *settings) for part in ("--set", setting)]


def store_settings(reached: Any) -> tuple[str, ...]:
    """The `[s3]` section that reaches a store, or a proxy in front of it."""
    return (
        f"s3.s3_bucket_name={BUCKET}",
        f"s3.endpoint_url={reached.endpoint_url}",
        f"s3.access_key_id={reached.access_key_id.reveal()}",
        f"s3.secret_access_key={reached.secret_access_key.reveal()}",
    )


@contextlib.contextmanager
def service(data: Path, name: str, *settings: str, module: tuple[str, ...] = ("imhearing",)) -> Iterator[Any]:
    """One `imhearing` process, stopped with SIGTERM; its log goes next to the data folder."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(data), "TZ": "UTC", "LANG": "C.UTF-8"}
    log = data.with_name(f"{name}.log")
    with log.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", *module, name, "--data", str(data), *options(*settings)],
            cwd=_ROOT, stdout=file, stderr=file, env=environment, start_new_session=True,
        )  # fmt: skip
    try:
        yield process
    except AssertionError as problem:
        problem.add_note(f"{name}: {log.read_text()[-5_000:]}")
        raise
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def command(data: Path, settings: tuple[str, ...], *arguments: str) -> str:
    """The output of one `imhearing` command, run in this process: starting Python would take most of the time."""
    printed = io.StringIO()
    level, handlers = logging.root.level, logging.root.handlers[:]
    environment = {"LANG": "C.UTF-8", "TZ": "UTC", "HOME": str(data), "PATH": os.environ["PATH"]}
    with mock.patch.dict(os.environ, environment, clear=True), contextlib.redirect_stdout(printed):
        try:
            imhearing.main([*arguments, "--data", str(data), *options(*settings)])
        finally:  # commands configure logging for their process
            logging.root.setLevel(level)
            logging.root.handlers[:] = handlers
    return printed.getvalue()


def continue_restored(data: Path, bucket: Path, folder: Path) -> dict[str, Any]:
    """Loads a new store with the objects of `bucket` and the interrupted upload, then continues."""
    store_folder = folder / "store"
    (store_folder / "data").mkdir(parents=True)
    bucket.rename(store_folder / "data" / BUCKET)
    with running_store(store_folder) as store:
        upload = begin_upload(store, data)
        return {"upload": {"key": upload.key, "parts": list(map(list, upload.parts))}, **continue_node(data, store)}


def continue_node(data: Path, store: RunningStore) -> dict[str, Any]:
    """Runs recorder and archiver until no work is open, archives the waiting chunks, then resumes recording."""
    span = _span(data)
    with running_proxy(store.settings) as (proxy, reached), running_broker() as broker, connected(broker.port) as mqtt:
        mqtt.subscribe(f"{_TOPIC}/#")
        shared = ("mqtt.host=127.0.0.1", f"mqtt.port={broker.port}", *store_settings(reached))
        # this would archive every chunk at once, but the limit that was set at run time overrides it
        archiver = ("thresholds.records_count=1", "archive.archive_max_chunks=3")
        recorder = ("recorder.source=synthetic", "recorder.sample_rate=8000", "recorder.record_period=60")
        with service(data, "recorder", *shared, *recorder) as recording, service(data, "archiver", *shared, *archiver):
            wait_until(lambda: _is_done(data), "orders are executed and plans uploaded", _PATIENCE)
            result: dict[str, Any] = {"recorder": _paused(data, mqtt), "instance": _instances(data, mqtt)}
            result["waiting"] = _observed(data, store.folder, span, shared)
            result["orders"] = _orders(data)
            result["holds"] = json.loads((data / "holds.json").read_bytes())
            mqtt.publish(f"{_TOPIC}/request/archive", json.dumps({"id": "compatibility-archive"}))
            wait_until(lambda: _is_done(data, waiting=0), "the waiting chunks are archived", _PATIENCE)
            result["archived"] = _observed(data, store.folder, span, shared)
            assert recording.poll() is None, "the recorder exited"
            result["recorder"]["still"] = _paused(data, mqtt)
            mqtt.publish(f"{_TOPIC}/request/resume", json.dumps({"id": "compatibility-resume"}))
            result["recorder"]["resumed"] = wait_until(lambda: _resumed(data), "the recorder records", _PATIENCE)
        result["sent"] = _sent(proxy)
    return result


def _span(data: Path) -> tuple[str, str]:
    """From before the first chunk until well into the pause."""
    state = json.loads((data / "spool" / "state.json").read_bytes())
    day = state["open_hole"]["from"][:10]
    return f"{day}T22:00:00Z", f"{day}T22:30:00Z"


def _is_done(data: Path, waiting: int | None = None) -> bool:
    """Whether no work is open and the spool holds the waiting chunks only; `waiting`: how many there must be."""
    if list((data / "orders").glob("erase-*")):
        return False
    unfinished = "archives WHERE (uploaded_at IS NULL AND gone IS NULL) OR (gone IS NOT NULL AND deleted_at IS NULL)"
    here = _spool(data)
    count = _count(data, "chunks WHERE state NOT IN ('stored', 'gone')")
    return not _count(data, unfinished) and len(here) == 2 * count and waiting in (None, count)


def _spool(data: Path) -> list[str]:
    """Names of all audio files, finished or not, and manifests."""
    return sorted(path.name for path in (data / "spool").glob("*-??????.*"))


def _count(data: Path, of: str) -> int:
    with _reading(data) as catalog:
        return int(catalog.execute(f"SELECT count(*) FROM {of}").fetchone()[0])  # noqa: S608 - constants


def _reading(data: Path) -> contextlib.closing[sqlite3.Connection]:
    return contextlib.closing(sqlite3.connect(f"file:{data / 'catalog.db'}?mode=ro", uri=True, timeout=30))


def _observed(data: Path, bucket: Path, span: tuple[str, str], settings: tuple[str, ...]) -> dict[str, Any]:
    """Bucket, catalog, spool and answers at this moment."""
    with _reading(data) as catalog:
        rows = {table: _rows(catalog, table, columns) for table, columns in _COLUMNS.items()}
    return {
        "objects": {
            str(path.relative_to(bucket)): [path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest()]
            for path in sorted(bucket.rglob("*"))
            if path.is_file()
        },
        "catalog": rows,
        "spool": _spool(data),
        "answers": {kind: _answer(data, kind, span, settings) for kind in ("coverage", "sounds", "levels")},
        "verify": json.loads(command(data, settings, "catalog", "verify", "--deep", "--json")),
    }


def _rows(catalog: sqlite3.Connection, table: str, columns: str) -> list[list[Any]]:
    found = catalog.execute(f"SELECT {columns} FROM {table}")  # noqa: S608 - constants
    return sorted((list(row) for row in found), key=repr)


def _answer(data: Path, kind: str, span: tuple[str, str], settings: tuple[str, ...]) -> Any:
    step = ("--step", "60") if kind == "levels" else ()
    times = ("--from", span[0], "--to", span[1])
    return _without_moment(json.loads(command(data, settings, "query", "--type", kind, *step, *times, "--json")))


def _without_moment(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_moment(item) for name, item in value.items() if name not in _MOMENTARY}
    return [_without_moment(item) for item in value] if isinstance(value, list) else value


def _orders(data: Path) -> list[dict[str, Any]]:
    """Results of the erase orders; of the reason, which is prose, only whether there is one."""
    results = [json.loads(path.read_bytes()) for path in sorted((data / "orders").glob("result-*.json"))]
    return [{**result, "reason": result["reason"] is not None} for result in results]


def _paused(data: Path, mqtt: Client) -> dict[str, Any]:
    """Every state published so far, and the state file."""
    mqtt.wait_for_message(f"{_TOPIC}/recorder/state", timeout=_PATIENCE)
    published = [json.loads(message.payload) for message in mqtt.messages_on(f"{_TOPIC}/recorder/state")]
    return {"published": sorted({each["state"] for each in published}), "noted": _state(data)}


def _state(data: Path) -> dict[str, Any]:
    state = json.loads((data / "spool" / "state.json").read_bytes())
    kept = {name: state.get(name) for name in ("state", "ordinal", "stream_id", "open_hole", "holes", "until")}
    return {**kept, "order": json.loads((data / "spool" / "pause.json").read_bytes())["until"]}


def _instances(data: Path, mqtt: Client) -> dict[str, str]:
    """The instance id, as published and as kept in the data folder."""
    messages = {
        role: mqtt.wait_for_message(f"{_TOPIC}/{role}/status", timeout=_PATIENCE) for role in ("recorder", "archiver")
    }
    published = {role: json.loads(message.payload)["instance"] for role, message in messages.items()}
    return {**published, "kept": (data / "instance").read_text()}


def _resumed(data: Path) -> dict[str, Any] | None:
    """The stream after the pause, once it is being recorded."""
    state = json.loads((data / "spool" / "state.json").read_bytes())
    if state["state"] != "recording" or state.get("stream_id") is None:
        return None
    stream = json.loads((data / "spool" / f"{state['stream_id']}.stream.json").read_bytes())
    holes = [{"cause": hole["cause"], "from": hole["from"]} for hole in stream["before"]]
    return {"ordinal": stream["ordinal"], "before": holes[:1], "order": (data / "spool" / "pause.json").exists()}


def _sent(proxy: FaultProxy) -> dict[str, Any]:
    """Multipart requests that reached the store: uploads begun and completed, numbers of the parts sent."""
    names = [(request.name, request.query) for request, _ in proxy.seen]
    return {
        "begun": sum(name == "POST start" for name, _ in names),
        "parts": sorted(
            int(field.removeprefix("partNumber="))
            for name, query in names if name == "PUT part"
            for field in query.split("&") if field.startswith("partNumber=")
        ),
        "completed": sum(name == "POST complete" for name, _ in names),
    }  # fmt: skip
