"""What `imhearing up` decides before it starts: which services run locally, on which ports, with which keys."""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import fields, replace

from commands.up.own_broker import broker_settings, passwords_of, prepare_broker
from edge.catalog.file import recover
from edge.configuration import loader as config
from edge.configuration.settings import UNIX, Http, Secret, Settings
from edge.core import wire
from edge.core.errors import CatalogError, ConfigError, ImHearingError, WireError
from edge.core.files import write_atomically
from edge.embedded import ports
from edge.embedded.child import ProcessSpec
from edge.embedded.servers import BUCKET, store_process
from edge.messaging.access import Passwords, new_passwords
from query_service.realtime.tokens import new_api_key

MARKER = "written by `imhearing up`, which rewrites it at every start"
_HEADING = f"""\
{MARKER}.
It contains the ports and local keys in use. Put your own settings into another file: imhearing up --config FILE"""
_PAGE_PORTS = range(8_480, 8_500)
_PORT_TIMEOUT = 3.0  # seconds to wait for a server of the previous run to release its port
ENTRY_POINT = Path(__file__).parents[2] / "imhearing.py"
SERVICES = ("recorder", "archiver", "query-service")


class UpState(Struct, frozen=True):
    """`up.json`: ports and keys to reuse at the next start, so that links, clients and terminals keep working; and what
    `--set` set at the last one, without secrets."""

    broker_passwords: Passwords = {}
    store_port: int | None = None
    realtime_port: int | None = None
    http_port: int | None = None
    store_key_id: str = ""
    store_secret: str = ""
    realtime_key: str = ""
    cursor_key: str = ""
    owner_key: str = ""
    page_passwords: dict[str, str] = {}  # hashes, by role
    overrides: tuple[str, ...] = ()


class StartPlan(NamedTuple):
    """The data `folder` and the effective `settings`; `servers` to start before the services; `notes` for the user."""

    folder: Path
    settings: Settings
    servers: list[ProcessSpec]
    services: list[ProcessSpec]
    state: UpState
    notes: list[str]

    @property
    def runs_broker(self) -> bool:
        return any(process.name == "broker" for process in self.servers)

    @property
    def processes(self) -> list[ProcessSpec]:
        return [*self.servers, *self.services]


def user_settings(
    data_dir: Path, config_file: Path | None, overrides: Sequence[str], environ: Mapping[str, str] = os.environ
) -> Settings:
    """The settings that the user chose, without what an earlier `up` wrote to `data_dir`. ConfigError."""
    generated = data_dir / "config.ini"
    exists = _check_written_by_up(generated)
    if exists and config_file is not None and config_file.exists() and config_file.samefile(generated):
        config_file = None
    # an empty file, as `load` would otherwise read the one in the data folder
    return config.load(data_dir, config_file or Path(os.devnull), overrides, environ)


def _check_written_by_up(path: Path) -> bool:
    """Whether the file exists. Raises ConfigError if it does and `up` did not write it."""
    try:
        first = path.read_text(encoding="utf-8", errors="replace").partition("\n")[0]
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as problem:
        raise ConfigError([config.unreadable(path, problem)]) from None
    if MARKER not in first:
        raise ConfigError(
            [
                f"{path}: `imhearing up` would overwrite this file, which it did not write;"
                " move it elsewhere and use it with: imhearing up --config FILE"
            ]
        )
    return True


def make_plan(data_dir: Path, settings: Settings) -> StartPlan:
    """Creates the servers' folders but starts nothing. ImHearingError: a program is missing, a folder unwritable."""
    state, folder_of_logs = load_state(data_dir), data_dir / "logs"
    servers: list[ProcessSpec] = []
    notes: list[str] = []
    taken: set[int] = set()

    def choose(port: int | None, timeout: float = _PORT_TIMEOUT) -> int:
        chosen = ports.choose(port, frozenset(taken), timeout)
        taken.add(chosen)
        return chosen

    if settings.mqtt.host:
        notes.append(f"broker    {settings.mqtt.address} (configured)")
    else:
        folder, node = data_dir / "broker", settings.node.name
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        passwords = passwords_of(settings.mqtt, state.broker_passwords, new_passwords())
        state = replace(state, broker_passwords=passwords)
        settings = replace(settings, mqtt=broker_settings(node, folder, settings.mqtt.discovery, passwords))
        servers.append(prepare_broker(node, folder, settings.mqtt, passwords, folder_of_logs / "broker.log"))
        notes.append(f"broker    Mosquitto on {settings.mqtt.address}, for you only")
    if settings.s3.s3_bucket_name:
        notes.append(f"archives  s3://{settings.s3.s3_bucket_name}/{settings.s3.prefix} (configured)")
    else:
        port = choose(state.store_port)
        key_id, secret = (
            state.store_key_id or f"local{secrets.token_hex(8)}",
            state.store_secret or secrets.token_hex(20),
        )
        state = replace(state, store_port=port, store_key_id=key_id, store_secret=secret)
        s3 = replace(
            settings.s3,
            s3_bucket_name=BUCKET,
            endpoint_url=f"http://{ports.LOOPBACK}:{port}",
            addressing="auto",
            ca_file="",
            public_endpoint_url="",
            access_key_id=Secret(key_id),
            secret_access_key=Secret(secret),
        )
        settings = replace(settings, s3=s3)
        servers.append(store_process(port, data_dir / "store", key_id, secret, folder_of_logs / "store.log"))
        notes.append(f"archives  {data_dir / 'store'}, served as S3 on port {port}")
    if settings.ably.api_key.reveal():
        notes.append(f"realtime  {settings.ably.endpoint or 'Ably'} (configured)")
    else:
        port, key = choose(state.realtime_port), state.realtime_key or new_api_key().reveal()
        state = replace(state, realtime_port=port, realtime_key=key)
        ably = replace(settings.ably, api_key=Secret(key), endpoint=f"{ports.LOOPBACK}:{port}")
        settings = replace(settings, ably=ably)
        servers.append(_own_process(data_dir, "realtime-server", port))
        notes.append(f"realtime  local server on port {port}, this machine only")
    if not settings.http.port:
        state = replace(state, http_port=choose(state.http_port or _first_free_port(taken)))
        settings = replace(settings, http=replace(settings.http, port=state.http_port))
    if not settings.query.cursor_key.reveal():
        state = replace(state, cursor_key=state.cursor_key or secrets.token_hex(20))
        settings = replace(settings, query=replace(settings.query, cursor_key=Secret(state.cursor_key)))
    state, owner_key = with_owner_key(state, settings.http)
    http = replace(settings.http, owner_key=Secret(owner_key))
    settings = replace(settings, http=_with_passwords(http, state.page_passwords))
    notes.append(_http_note(settings.http))
    services = [_own_process(data_dir, name) for name in SERVICES]
    undo = partial(_undo_interrupted_commit, settings.catalog.db_path)
    services = [each._replace(clean_up=undo) if each.name == "archiver" else each for each in services]
    return StartPlan(data_dir, settings, servers, services, state, notes)


def _undo_interrupted_commit(catalog: Path) -> None:
    """Once an archiver has died: readers cannot, and the next archiver may be long in coming."""
    with contextlib.suppress(CatalogError):  # then the next archiver says what is wrong
        recover(catalog)


def with_owner_key(state: UpState, http: Http) -> tuple[UpState, str]:
    """The key that signs what the page's owner orders: as set, else that of the last start, else a new one."""
    if http.owner_key.reveal():
        return state, http.owner_key.reveal()
    state = replace(state, owner_key=state.owner_key or secrets.token_hex(32))
    return state, state.owner_key


def _first_free_port(taken: Collection[int]) -> int | None:
    """The page's usual port, or the next one that is free: so that a bookmark lasts."""
    return next((port for port in _PAGE_PORTS if port not in taken and ports.is_free(port)), None)


def _with_passwords(http: Http, of_page: Mapping[str, str]) -> Http:
    """Those of `imhearing page password`, unless the settings have others."""
    kept = {f"{role}_password": Secret(stored) for role, stored in of_page.items()}
    return replace(http, **{key: stored for key, stored in kept.items() if not getattr(http, key).reveal()})


def _http_note(http: Http) -> str:
    where = f"http      {http.host}:{http.port}"
    # the query service logs why, and keeps trying
    return where if ports.is_free(http.port, http.host) else f"{where} is not available: no HTTP door until it is"


def lost_overrides(data_dir: Path, config_file: Path | None, overrides: Sequence[str], settings: Settings) -> list[str]:
    """What `--set` set at the last start and nothing sets in `settings`, which these files and `overrides` gave."""
    return [
        text
        for text in load_state(data_dir).overrides
        if _if_valid(data_dir, config_file, [text, *overrides]) not in (None, settings)
    ]


def _if_valid(data_dir: Path, config_file: Path | None, overrides: Sequence[str]) -> Settings | None:
    try:
        return user_settings(data_dir, config_file, overrides)
    except ConfigError:  # of an earlier version
        return None


def save_plan(
    data_dir: Path,
    plan: StartPlan,
    from_environment: Sequence[tuple[str, str]] = (),
    overrides: Sequence[str] = (),
) -> None:
    """Writes config.ini and up.json, for the owner only, without the secrets that come from the environment."""
    settings = plan.settings
    state = replace(plan.state, overrides=tuple(text for text in overrides if not _is_secret(text)))
    for section, key in from_environment:
        settings = replace(settings, **{section: replace(getattr(settings, section), **{key: Secret()})})
    try:
        text = config.to_ini(_movable(settings, data_dir), _HEADING)
        write_atomically(data_dir / "config.ini", text.encode(), 0o600)
    except OSError as problem:
        raise _not_writable(data_dir, problem) from None
    save_state(data_dir, state)


def save_state(data_dir: Path, state: UpState) -> None:
    """Writes up.json, for the owner only. ImHearingError."""
    try:
        write_atomically(data_dir / "up.json", wire.encode_pretty(state), 0o600)
    except OSError as problem:
        raise _not_writable(data_dir, problem) from None


def _not_writable(data_dir: Path, problem: OSError) -> ImHearingError:
    return ImHearingError(f"{data_dir}: cannot be written ({problem.strerror}); use another with --data")


def _movable(settings: Settings, data_dir: Path) -> Settings:
    """With the paths below the data folder relative to it: a copy of the folder must not lead to the original."""

    def relative(path: Path) -> Path:
        return path.relative_to(data_dir) if path.is_relative_to(data_dir) else path

    recorder, catalog, log, mqtt = settings.recorder, settings.catalog, settings.log, settings.mqtt
    host = f"{UNIX}{relative(Path(mqtt.socket_path))}" if mqtt.socket_path else mqtt.host
    return replace(
        settings,
        recorder=replace(recorder, record_path=relative(recorder.record_path)),
        catalog=replace(catalog, db_path=relative(catalog.db_path)),
        log=replace(log, log_file=log.log_file and str(relative(Path(log.log_file)))),
        mqtt=replace(mqtt, host=host),
    )


def secrets_of_environment(
    data_dir: Path, config_file: Path | None, overrides: Sequence[str], settings: Settings
) -> list[tuple[str, str]]:
    """The secrets in `settings` that come only from the environment or $CREDENTIALS_DIRECTORY."""
    without = user_settings(data_dir, config_file, overrides, environ={})
    found = []
    for section in fields(Settings):
        now, before = getattr(settings, section.name), getattr(without, section.name)
        for item in fields(now):
            value = getattr(now, item.name)
            if isinstance(value, Secret) and value.reveal() != getattr(before, item.name).reveal():
                found.append((section.name, item.name))
    return found


def _is_secret(override: str) -> bool:
    section, _, key = override.partition("=")[0].partition(".")
    return config.is_secret(section, key)


def load_state(data_dir: Path) -> UpState:
    """The state saved by the last `up`; a damaged file is ignored."""
    try:
        return wire.decode((data_dir / "up.json").read_bytes(), UpState)
    except (OSError, WireError):
        return UpState()


def _own_process(data_dir: Path, name: str, port: int | None = None) -> ProcessSpec:
    command = (
        sys.executable,
        str(ENTRY_POINT),  # by path: `-m` would search the current folder first
        name,
        "--data",
        str(data_dir),
        "--config",
        str(data_dir / "config.ini"),
    )
    # one heap for all threads, as in the unit files, instead of one per thread
    return ProcessSpec(name, command, data_dir / "logs" / f"{name}.log", {"MALLOC_ARENA_MAX": "1"}, port)
