"""What `imhearing up` decides: which parts it starts itself, on which ports, with which keys, and what it remembers."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import fields, replace

from edge.configuration import loader as config
from edge.configuration.settings import Http, Mqtt, Secret, Settings
from edge.core import wire
from edge.core.errors import ConfigError, ImHearingError, WireError
from edge.core.files import write_atomically
from edge.embedded import ports
from edge.embedded.broker import broker_part
from edge.embedded.child import Part
from edge.embedded.store import BUCKET, store_part
from query_service.realtime.tokens import new_api_key

MARKER = "written by `imhearing up`, which writes it anew at each start"
_HEADING = f"""\
{MARKER}.
What it decided is here: ports, local keys. Put settings of your own into another file: imhearing up --config FILE"""
_PORT_PATIENCE = 3.0  # seconds for a server of the last start to let go of its port
FRONT = Path(__file__).parents[2] / "imhearing.py"
SERVICES = ("recorder", "archiver", "query-service")


class Memory(Struct, frozen=True):
    """`up.json`: what the next start uses again, so that links, clients and open terminals go on working."""

    broker_port: int | None = None
    store_port: int | None = None
    realtime_port: int | None = None
    http_port: int | None = None
    store_key_id: str = ""
    store_secret: str = ""
    realtime_key: str = ""


class Plan(NamedTuple):
    """`settings` as they are in force; `servers` to be started before the services; `notes` for people."""

    settings: Settings
    servers: list[Part]
    services: list[Part]
    memory: Memory
    notes: list[str]


def asked_settings(
    data_dir: Path, config_file: Path | None, overrides: Sequence[str], environ: Mapping[str, str] = os.environ
) -> Settings:
    """The settings that a person chose: never those that an earlier `up` wrote into `data_dir`. ConfigError."""
    own = data_dir / "config.ini"
    if own.exists():
        _refuse_what_is_not_ours(own)
        if config_file is not None and config_file.exists() and config_file.samefile(own):
            config_file = None  # what an earlier start decided is not what a person chose
    # an empty file, where `load` would take the one in the data folder
    return config.load(data_dir, config_file or Path(os.devnull), overrides, environ)


def _refuse_what_is_not_ours(path: Path) -> None:
    try:
        first = path.read_text(encoding="utf-8", errors="replace").partition("\n")[0]
    except OSError as problem:
        raise ConfigError([f"{path}: cannot be read ({problem.strerror}); mend its rights"]) from None
    if MARKER not in first:
        raise ConfigError(
            [
                f"{path}: `imhearing up` writes this file and did not write yours;"
                " move it away and name it: imhearing up --config FILE"
            ]
        )


def make_plan(data_dir: Path, settings: Settings) -> Plan:
    """Starts nothing yet; makes the servers' folders. ImHearingError: a program is missing, a folder unwritable."""
    memory = recall(data_dir)
    servers: list[Part] = []
    notes: list[str] = []
    taken: frozenset[int] = frozenset()
    if settings.mqtt.host:
        notes.append(f"broker    {settings.mqtt.host}:{settings.mqtt.port} (configured)")
    else:
        patience = _PORT_PATIENCE if memory.broker_port else 0.0
        memory = replace(memory, broker_port=ports.choose(memory.broker_port or 1883, taken, patience))
        settings, part, taken = _with_broker(data_dir, settings, memory, taken)
        servers.append(part)
        notes.append(f"broker    Mosquitto on {settings.mqtt.host}:{settings.mqtt.port}")
    if settings.s3.s3_bucket_name:
        notes.append(f"archives  s3://{settings.s3.s3_bucket_name}/{settings.s3.prefix} (configured)")
    else:
        memory = replace(
            memory,
            store_port=ports.choose(memory.store_port, taken, _PORT_PATIENCE),
            store_key_id=memory.store_key_id or f"local{secrets.token_hex(8)}",
            store_secret=memory.store_secret or secrets.token_hex(20),
        )
        settings, part, taken = _with_store(data_dir, settings, memory, taken)
        servers.append(part)
        notes.append(f"archives  {data_dir / 'store'}, served as S3 on {part.port}")
    if settings.ably.api_key.reveal():
        notes.append(f"realtime  {settings.ably.endpoint or 'Ably'} (configured)")
    else:
        memory = replace(
            memory,
            realtime_port=ports.choose(memory.realtime_port, taken, _PORT_PATIENCE),
            realtime_key=memory.realtime_key or new_api_key().reveal(),
        )
        settings = _with_realtime(settings, memory)
        servers.append(_own_part(data_dir, "realtime-server", memory.realtime_port))
        notes.append(f"realtime  a local server on {memory.realtime_port}, for this machine alone")
        taken |= {memory.realtime_port or 0}
    if not settings.http.port:
        memory = replace(memory, http_port=ports.choose(memory.http_port, taken, _PORT_PATIENCE))
        settings = replace(settings, http=replace(settings.http, port=memory.http_port))
    notes.append(_http_note(settings.http))
    services = [_own_part(data_dir, name) for name in SERVICES]
    return Plan(settings, servers, services, memory, notes)


def _http_note(http: Http) -> str:
    where = f"http      {http.host}:{http.port}"
    # the query service says why, and goes on trying
    return where if ports.is_free(http.port, http.host) else f"{where} cannot be had now: no HTTP door until it can"


def remember(data_dir: Path, plan: Plan, from_environment: Sequence[tuple[str, str]] = ()) -> None:
    """Writes config.ini and up.json, readable by us alone. Secrets from the environment stay there."""
    settings = plan.settings
    for section, key in from_environment:
        settings = replace(settings, **{section: replace(getattr(settings, section), **{key: Secret()})})
    try:
        write_atomically(data_dir / "up.json", wire.encode_pretty(plan.memory), 0o600)
        write_atomically(data_dir / "config.ini", config.to_ini(settings, _HEADING).encode(), 0o600)
    except OSError as problem:
        raise ImHearingError(f"{data_dir}: cannot be written ({problem.strerror}); name another with --data") from None


def secrets_of_environment(
    data_dir: Path, config_file: Path | None, overrides: Sequence[str], settings: Settings
) -> list[tuple[str, str]]:
    """The secrets in `settings` that only the environment or $CREDENTIALS_DIRECTORY gave."""
    without = asked_settings(data_dir, config_file, overrides, environ={})
    found = []
    for section in fields(Settings):
        now, before = getattr(settings, section.name), getattr(without, section.name)
        for item in fields(now):
            value = getattr(now, item.name)
            if isinstance(value, Secret) and value.reveal() != getattr(before, item.name).reveal():
                found.append((section.name, item.name))
    return found


def recall(data_dir: Path) -> Memory:
    """What the last `up` remembered; a damaged file counts as none."""
    try:
        return wire.decode((data_dir / "up.json").read_bytes(), Memory)
    except (OSError, WireError):
        return Memory()


def _with_broker(
    data_dir: Path, settings: Settings, memory: Memory, taken: frozenset[int]
) -> tuple[Settings, Part, frozenset[int]]:
    port = memory.broker_port or 0
    part = broker_part(port, data_dir / "broker", data_dir / "logs" / "broker.log")
    return replace(settings, mqtt=Mqtt(host=ports.LOOPBACK, port=port)), part, taken | {port}


def _with_store(
    data_dir: Path, settings: Settings, memory: Memory, taken: frozenset[int]
) -> tuple[Settings, Part, frozenset[int]]:
    port = memory.store_port or 0
    part = store_part(
        port, data_dir / "store", memory.store_key_id, memory.store_secret, data_dir / "logs" / "store.log"
    )
    s3 = replace(
        settings.s3,
        s3_bucket_name=BUCKET,
        endpoint_url=f"http://{ports.LOOPBACK}:{port}",
        public_endpoint_url="",
        access_key_id=Secret(memory.store_key_id),
        secret_access_key=Secret(memory.store_secret),
    )
    return replace(settings, s3=s3), part, taken | {port}


def _with_realtime(settings: Settings, memory: Memory) -> Settings:
    endpoint = f"{ports.LOOPBACK}:{memory.realtime_port}"
    return replace(settings, ably=replace(settings.ably, api_key=Secret(memory.realtime_key), endpoint=endpoint))


def _own_part(data_dir: Path, name: str, port: int | None = None) -> Part:
    command = (
        sys.executable,
        str(FRONT),  # by its path: `-m` would look into the current folder first
        name,
        "--data",
        str(data_dir),
        "--config",
        str(data_dir / "config.ini"),
    )
    # one heap for all threads, as the service files have it: each thread would else keep one of its own
    return Part(name, command, data_dir / "logs" / f"{name}.log", {"MALLOC_ARENA_MAX": "1"}, port)
