"""Archiving and uploading beside the best of others, against the local S3 server.

python -m bench.upload [--chunks 100] [--megabytes 1.5] [--archives 5] [--large-gb 4] [--rounds 3]

One round: the archiver's own plan, catalog and upload, in a process of its own, until all is verified, with each choice
of `[s3] read_back`;
`rclone copyto` of a zip that is ready; zip to disk, then `aws s3 cp` (awscli in a folder of its own, if it can be had).
Times are of the work, without the start of the programs; with it in brackets.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from edge.configuration.settings import S3
from edge.core import wire
from edge.core.values import Encryption, SpoolState
from edge.spool.spool import Spool
from tests.support.spool.chunks import BOOT, START, STREAM, make_chunk, make_stream, put_chunk
from tests.support.store.s3 import RunningStore, running_store

MEGABYTE = 1_000_000
_READ_BACK = ("always", "0.1", "first")
_OURS = "imhearing, read_back = {}"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--chunks", type=int, default=100)
    parser.add_argument("--megabytes", type=float, default=1.5)
    parser.add_argument("--archives", type=int, default=5, help="into which the archiver puts them (5)")
    parser.add_argument("--large-gb", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="imhearing-bench-")))
        aws = _aws(folder)
        sums: dict[str, list[float]] = {}
        for number in range(options.rounds):
            for name, took in _round(folder / str(number), number, options, aws):
                sums.setdefault(name, []).append(took)
            shutil.rmtree(folder / str(number))
        ours = statistics.median(sums[_OURS.format(_READ_BACK[0])])
        for name, seconds in sums.items():
            middle = statistics.median(seconds)
            print(f"{name:29} median {middle:6.2f} s  {' '.join(f'{s:.2f}' for s in seconds)}  {ours / middle:.2f}")
        if options.large_gb:
            _large(folder / "large", options.large_gb)


def _round(folder: Path, number: int, options: argparse.Namespace, aws: Path | None) -> Iterator[tuple[str, float]]:
    """Everyone once, each with a new store, who is first changing with the round's number."""
    folder.mkdir()
    size = round(options.megabytes * MEGABYTE)
    _fill(folder / "peers", options.chunks, size)
    ready = folder / "ready.zip"
    _zip(folder / "peers" / "spool", ready)
    runs: list[tuple[str, Callable[[RunningStore], float]]] = [
        ("rclone copyto, zip ready", lambda store: _rclone(store, folder, ready)),
        *((_OURS.format(choice), functools.partial(_ours, folder / choice, options, choice)) for choice in _READ_BACK),
    ]
    if aws is not None:
        runs.append(("zip, then aws s3 cp", lambda store: _zip_then_aws(store, folder / "peers", aws)))
    first = number % len(runs)
    for name, run in runs[first:] + runs[:first]:
        with running_store() as store:
            os.sync()  # what was left to be written is nobody else's to wait for
            yield name, run(store)


def _ours(folder: Path, options: argparse.Namespace, read_back: str, store: RunningStore) -> float:
    _fill(folder, options.chunks, round(options.megabytes * MEGABYTE))  # each time: what is sent leaves the spool
    os.sync()
    figures = _archive(store, folder, read_back, -(-options.chunks // options.archives))
    print(
        f"imhearing, read_back = {read_back}: {figures['seconds']:.2f} s ({figures['whole']:.2f} s with its start),"
        f" {figures['cpu']:.2f} s CPU, {figures['rss_mb']:.0f} MB resident at most, {figures['written']:.0f} bytes"
        f" written to disk, {figures['rate']:.0f} MB/s"
    )
    shutil.rmtree(folder)
    return float(figures["seconds"])


def _large(folder: Path, gigabytes: float) -> None:
    """One archive of many chunks of noise that all have the same bytes, so that they take no room here.

    Every other one is called encrypted: to whoever reads archives that is another name, and noise like any other.
    """
    folder.mkdir()
    data = random.Random(1).randbytes(33_554_432)
    (folder / "same").write_bytes(data)
    spool, first = Spool(folder / "spool", "porch"), make_chunk(0, data)
    spool.create()
    for seq in range(round(gigabytes * 1e9 / len(data))):
        chunk = replace(make_chunk(seq), bytes=first.bytes, sha256=first.sha256, crc32=first.crc32)
        if seq % 2:
            chunk = replace(chunk, encryption=Encryption(("age1x",), "0" * 64))
        spool.layout.manifest_path(chunk.chunk_id).write_bytes(wire.encode(chunk))
    with running_store() as store:
        figures = _archive(store, folder, "always", 10_000)
        path = next(store.folder.rglob("*.zip"))
        print(
            f"one archive of {path.stat().st_size / 1e9:.2f} GB: {figures['seconds']:.1f} s, {figures['rss_mb']:.0f} MB"
            f" resident at most, {figures['written']:.0f} bytes written to disk"
        )
        _open_with_others(path)


def _open_with_others(path: Path) -> None:
    """Reads every member's bytes with other programs, which compare the CRC-32s."""
    for command in ("unzip -tqq", "7z t -bso0 -bsp0", f"{sys.executable} -m zipfile -t", "bsdtar -xOf"):
        program, *arguments = command.split()
        if found := shutil.which(program):
            code = subprocess.run([found, *arguments, path], stdout=subprocess.DEVNULL, check=False).returncode
            print(f"  {command.removeprefix(str(Path(program).parent) + '/')}: exit code {code}")
    if bsdtar := shutil.which("bsdtar"):
        with path.open("rb") as file:  # a pipe cannot be sought
            feed = subprocess.Popen(["cat"], stdin=file, stdout=subprocess.PIPE)
            done = subprocess.run([bsdtar, "-xOf", "-"], stdin=feed.stdout, stdout=subprocess.DEVNULL, check=False)
            feed.wait()
        print(f"  bsdtar -xOf -, from a pipe: exit code {done.returncode}")


def _archive(store: RunningStore, folder: Path, read_back: str, chunks: int) -> dict[str, Any]:
    """Archives what is in `folder`'s spool, `chunks` to an archive."""
    settings = folder / "s3.json"
    settings.write_text("\n".join(_s3_values(store.settings)))
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "bench.upload_child",
        folder / "spool",
        settings,
        read_back,
        str(chunks),
    ]
    began = time.monotonic()
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    whole = time.monotonic() - began
    return {**wire.decode(done.stdout.splitlines()[-1], dict[str, float]), "whole": whole}


def _rclone(store: RunningStore, folder: Path, ready: Path) -> float:
    key_id, secret = store.settings.access_key_id.reveal(), store.settings.secret_access_key.reveal()
    config = folder / "rclone.conf"
    config.write_text(
        "[s]\ntype = s3\nprovider = Other\n"
        f"access_key_id = {key_id}\nsecret_access_key = {secret}\nendpoint = {store.settings.endpoint_url}\n"
    )
    rclone = Path(sys.executable).with_name("rclone")
    began = time.monotonic()
    target = f"s:{store.settings.s3_bucket_name}/rclone.zip"
    subprocess.run([rclone, "--config", config, "copyto", ready, target], check=True)
    return time.monotonic() - began


def _zip_then_aws(store: RunningStore, folder: Path, aws: Path) -> float:
    environment = {
        **os.environ,
        "AWS_ACCESS_KEY_ID": store.settings.access_key_id.reveal(),
        "AWS_SECRET_ACCESS_KEY": store.settings.secret_access_key.reveal(),
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
    }
    began = time.monotonic()
    path = folder / "aws.zip"
    _zip(folder / "spool", path)
    target = f"s3://{store.settings.s3_bucket_name}/aws.zip"
    endpoint = ["--endpoint-url", store.settings.endpoint_url]
    subprocess.run([aws, *endpoint, "s3", "cp", "--quiet", path, target], check=True, env=environment)
    seconds = time.monotonic() - began
    path.unlink()
    return seconds


def _zip(spool: Path, path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for member in sorted(spool.glob("*.flac")):
            archive.write(member, member.name)


def _fill(folder: Path, chunks: int, size: int) -> None:
    spool = Spool(folder / "spool", "porch")
    spool.create()
    spool.streams.write(make_stream())
    spool.state.write(SpoolState(state="recording", since=START, boot_id=BOOT, ordinal=1, stream_id=STREAM))
    noise = random.Random(7)
    for seq in range(chunks):
        data = noise.randbytes(size)
        put_chunk(spool, make_chunk(seq, data), data)


def _aws(folder: Path) -> Path | None:
    """awscli from PyPI, in an environment that is deleted with the folder."""
    try:
        subprocess.run([sys.executable, "-m", "venv", folder / "aws"], check=True, stdout=subprocess.DEVNULL)
        pip = folder / "aws" / "bin" / "pip"
        subprocess.run([pip, "install", "-q", "--disable-pip-version-check", "awscli"], check=True)
    except subprocess.CalledProcessError:
        print("awscli could not be installed: left out", file=sys.stderr)
        return None
    return folder / "aws" / "bin" / "aws"


def _s3_values(settings: S3) -> list[str]:
    key_id, secret = settings.access_key_id.reveal(), settings.secret_access_key.reveal()
    return [settings.s3_bucket_name, settings.endpoint_url, key_id, secret]


if __name__ == "__main__":
    main()
