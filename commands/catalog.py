"""`imhearing catalog verify | rebuild`: hold the catalog against store and spool, or make it anew from them."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable

from commands.cli import logs
from commands.cli.common import data_dir, now, print_json, say, settings
from commands.cli.logs import escaped
from commands.up.local_store import local_store
from edge.catalog import CatalogReader
from edge.configuration.settings import Settings
from edge.core.errors import CatalogBusy, ImHearingError
from edge.spool.spool import Spool


def run(args: argparse.Namespace) -> int:
    """Exit code 0: all is as the catalog says, or the catalog was made anew; 1: it is not, or it could not."""
    logs.set_up_for_people()
    chosen = settings(args)
    with local_store(data_dir(args), chosen):
        return _verify(args, chosen) if args.action == "verify" else _rebuild(args, chosen)


def _verify(args: argparse.Namespace, chosen: Settings) -> int:
    from edge.archiver.verify import verify  # noqa: PLC0415
    from edge.store.s3 import S3Store  # noqa: PLC0415 -- boto3, 40 MB

    findings = []
    counted = _counter("archives looked at" if not args.deep else "archives read back")
    with contextlib.closing(CatalogReader(chosen.catalog.db_path)) as catalog:
        found = verify(
            S3Store(chosen.s3),
            chosen.s3.prefix,
            chosen.node.name,
            _spool(chosen),
            catalog,
            deep=args.deep,
            progress=lambda _: counted(None),
        )
        for finding in found:
            findings.append(finding)
            if not args.json:
                print(escaped(str(finding)))
    if args.json:
        print_json({"ok": not findings, "findings": findings})
    say(f"not as the catalog says: {len(findings)}" if findings else "all is as the catalog says")
    return 1 if findings else 0


def _rebuild(args: argparse.Namespace, chosen: Settings) -> int:
    from edge.archiver.rebuild import rebuild_in_place  # noqa: PLC0415
    from edge.store.s3 import S3Store  # noqa: PLC0415 -- boto3, 40 MB

    path = chosen.catalog.db_path
    was_there = path.exists()
    try:
        found = rebuild_in_place(
            S3Store(chosen.s3),
            chosen.s3.prefix,
            chosen.node.name,
            _spool(chosen),
            path,
            now(),
            _counter("archives read"),
        )
    except ImHearingError as problem:
        problem.args = (_untouched(problem, path.name, was_there),)
        raise
    if args.json:
        print_json(found)
    for fault in found.faults:
        say(f"left out: {escaped(fault)}")
    say(
        f"{path}: {found.chunks} chunks in {found.archives} archives, {found.waiting} in the spool;"
        f" what was there before is {path.name}.old"
    )
    return 1 if found.faults else 0


def _untouched(problem: ImHearingError, name: str, was_there: bool) -> str:
    text = str(problem)
    if "another archiver" in text:
        text = f"{name} is being written: the archiver runs; stop it (or `imhearing up`) and call this again"
    return f"{text}\n{name} is as it was" if was_there else text


def _spool(chosen: Settings) -> Spool:
    spool = Spool(chosen.recorder.record_path, chosen.node.name)
    if not spool.path.is_dir():
        raise CatalogBusy(f"{spool.path}: no spool is there; name the node's folder with --data or --config")
    return spool


def _counter(what: str) -> Callable[[int | None], None]:
    """Shows how far it is, on one line of a terminal; every hundred elsewhere."""
    count = 0

    def show(number: int | None) -> None:
        nonlocal count
        count = count + 1 if number is None else number
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{count} {what}\x1b[K\r")
            sys.stderr.flush()
        elif count % 100 == 0:
            say(f"{count} {what}")

    return show
