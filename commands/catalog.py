"""`imhearing catalog verify | rebuild | recover`: checks the catalog against store and spool, or repairs it."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from commands.cli.common import data_dir, load_settings, now, print_json, print_message
from commands.cli.logs import escaped
from commands.show.formats import count
from commands.up.plan import load_state
from edge.catalog import CatalogReader
from edge.catalog.file import recover
from edge.configuration.settings import Settings
from edge.core.errors import CatalogBusy, ImHearingError
from edge.embedded import ports
from edge.embedded.servers import store_process
from edge.embedded.supervisor import Supervisor
from edge.spool.spool import Spool, spool_of

_STORE_STOP_SECONDS = 2.0


def run(args: argparse.Namespace) -> int:
    """Exit code 1: verify found differences, or rebuild left something out."""
    settings = load_settings(args)
    if args.action == "recover":
        return _recover(args, settings)
    with _local_store(data_dir(args), settings):
        return _verify(args, settings) if args.action == "verify" else _rebuild(args, settings)


@contextlib.contextmanager
def _local_store(folder: Path, settings: Settings) -> Iterator[None]:
    """Serves the store of `imhearing up` in `folder` while `up` is stopped, if `settings` use it. ImHearingError."""
    state = load_state(folder)
    port = state.store_port
    if port is None or settings.s3.endpoint_url != f"http://{ports.LOOPBACK}:{port}" or not ports.is_free(port):
        yield
        return
    supervisor = Supervisor()
    log = folder / "logs" / "store.log"
    supervisor.start(store_process(port, folder / "store", state.store_key_id, state.store_secret, log))
    try:
        supervisor.wait_ready()
        yield
    finally:
        supervisor.stop_all(_STORE_STOP_SECONDS)


def _verify(args: argparse.Namespace, settings: Settings) -> int:
    from edge.archiver.verify import verify  # noqa: PLC0415
    from edge.store.s3 import S3Store  # noqa: PLC0415 -- boto3, 40 MB

    findings = []
    counted = _counter("archives checked" if not args.deep else "archives read back")
    with contextlib.closing(CatalogReader(settings.catalog.db_path)) as catalog:
        found = verify(
            S3Store(settings.s3),
            settings.s3.prefix,
            _spool(settings),
            catalog,
            deep=args.deep,
            now=now(),
            progress=lambda _: counted(None),
        )
        for finding in found:
            findings.append(finding)
            if not args.json:
                print(escaped(str(finding)))
    if args.json:
        print_json({"ok": not findings, "findings": findings})
    print_message(f"{count(len(findings), 'difference')} found" if findings else "store and spool match the catalog")
    return 1 if findings else 0


def _recover(args: argparse.Namespace, settings: Settings) -> int:
    found = recover(settings.catalog.db_path)
    if args.json:
        print_json({"undone": found})
    else:
        print_message("an interrupted commit was undone" if found else "no commit was interrupted")
    return 0


def _rebuild(args: argparse.Namespace, settings: Settings) -> int:
    from edge.archiver.rebuild import rebuild_in_place  # noqa: PLC0415
    from edge.store.s3 import S3Store  # noqa: PLC0415 -- boto3, 40 MB

    path = settings.catalog.db_path
    existed = path.exists()
    try:
        found = rebuild_in_place(
            S3Store(settings.s3),
            settings.s3.prefix,
            _spool(settings),
            path,
            now(),
            _counter("archives read"),
        )
    except ImHearingError as problem:
        problem.args = (_explain(problem, path.name, existed),)
        raise
    if args.json:
        print_json(found)
    for fault in found.faults:
        print_message(f"skipped: {escaped(fault)}")
    print_message(
        f"{path}: {found.chunks} chunks in {found.archives} archives, {found.waiting} in the spool;"
        f" the previous catalog is {path.name}.old"
    )
    return 1 if found.faults else 0


def _explain(problem: ImHearingError, name: str, existed: bool) -> str:
    text = str(problem)
    if "another archiver" in text:
        text = f"{name} is in use: the archiver is running; stop it (or `imhearing up`) and try again"
    return f"{text}\n{name} is unchanged" if existed else text


def _spool(settings: Settings) -> Spool:
    spool = spool_of(settings)
    spool.check_disk()
    if not spool.path.is_dir():
        raise CatalogBusy(f"{spool.path}: no spool found; set the node's folder with --data or --config")
    return spool


def _counter(what: str) -> Callable[[int | None], None]:
    """Shows the progress, on one line of a terminal; elsewhere, after every hundred."""
    done = 0

    def show(number: int | None) -> None:
        nonlocal done
        done = done + 1 if number is None else number
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{done} {what}\x1b[K\r")
            sys.stderr.flush()
        elif done % 100 == 0:
            print_message(f"{done} {what}")

    return show
