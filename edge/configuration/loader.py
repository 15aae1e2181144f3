"""Loads settings from config.ini, the environment and `--set`. Reports all faults at once; keeps secrets masked."""

from __future__ import annotations

import configparser
import ipaddress
import os
import re
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args, get_type_hints
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta
from msgspec.structs import asdict, fields

from edge.configuration.encoder_limits import check_encodable
from edge.configuration.malformed import malformed
from edge.configuration.schedule import place_of, schedule_of
from edge.configuration.settings import UNIX, Secret, Settings
from edge.configuration.suggestion import suggest
from edge.core.errors import ConfigError
from edge.core.files import can_others_read, is_denied
from edge.core.ids import is_node_name, node_name_from_host

_UTF8 = "utf-8-sig"  # some editors start a file with a byte order mark
_FIX_CREDENTIAL = "make it readable by the user running this, or unset CREDENTIALS_DIRECTORY"

_UNUSABLE = re.compile(r"[\x00-\x08\x0e-\x1f\x7f\ud800-\udfff]")
_HOST = re.compile(r"[\w-]+(\.[\w-]+)*\.?")

# (section, key) -> value, and where it was set
Values = dict[tuple[str, str], tuple[str, str]]


def default_data_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """The platform's user data folder (XDG base directory specification)."""
    base = environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "imhearing"


def expand_user(path: Path) -> Path:
    """`path` with ~ and ~user replaced; as it is if there is no such user."""
    try:
        return path.expanduser()
    except RuntimeError:
        return path


def load(
    data_dir: Path,
    config_file: Path | None = None,
    overrides: Sequence[str] = (),
    environ: Mapping[str, str] = os.environ,
) -> Settings:
    """Settings from defaults < file < credentials and environment < overrides (`section.key=value`).

    Without `config_file`, reads `data_dir/config.ini` if it exists. Relative paths are relative to `data_dir`.
    Raises ConfigError with every fault.
    """
    data_dir = data_dir.absolute()
    faults: list[str] = []
    values: Values = {}
    values.update(_read_file(config_file or data_dir / "config.ini", faults, is_optional=config_file is None))
    values.update(_read_secrets(environ, faults))
    values.update(_read_overrides(overrides, faults))
    settings = _build(values, faults)
    if faults:
        raise ConfigError(faults)
    return _resolve(settings, data_dir)


def unreadable(path: Path, problem: OSError, option: str = "folder with --data") -> str:
    fix = "fix its permissions" if is_denied(problem) else "fix that"
    return f"{path}: cannot be read ({problem.strerror}); {fix}, or use another {option}"


def _read_file(path: Path, faults: list[str], *, is_optional: bool) -> Values:
    parser = configparser.ConfigParser(interpolation=None, inline_comment_prefixes=None)
    try:
        text = path.read_text(encoding=_UTF8)
        is_exposed = can_others_read(path.stat())
        parser.read_string(text, source=str(path))
    except (FileNotFoundError, NotADirectoryError):
        if not is_optional:
            faults.append(f"{path}: no such file; start from config_example.ini")
        return {}
    except OSError as problem:
        faults.append(unreadable(path, problem, "folder with --data" if is_optional else "file with --config"))
        return {}
    except UnicodeDecodeError:
        faults.append(f"{path}: is not UTF-8 text; start from config_example.ini")
        return {}
    except configparser.Error as problem:
        faults.append(f"{path}: {_describe_parse_error(problem)}")
        return {}
    values: Values = {}
    for section in parser.sections():
        for key, value in parser.items(section):
            values[section, key] = (value, f"{path}: [{section}] {key}")
        if section not in _SECTIONS:
            faults.append(f"{path}: unknown section [{section}]; {suggest(section, _SECTIONS)}")
            values = {place: value for place, value in values.items() if place[0] != section}
    secret = any(place in _SECRETS and value for place, (value, _) in values.items())
    if secret and is_exposed:
        faults.append(f"{path}: contains secrets but other users can read it; run: chmod 600 {path}")
    return values


def is_secret(section: str, key: str) -> bool:
    """Whether the value of this setting must never be shown."""
    return (section, key) in _SECRETS


def _read_secrets(environ: Mapping[str, str], faults: list[str]) -> Values:
    """Each secret from $IMHEARING_<SECTION>_<KEY>, or from a lower-case file of that name in $CREDENTIALS_DIRECTORY."""
    values: Values = {}
    folder = environ.get("CREDENTIALS_DIRECTORY", "")
    if _is_inaccessible(folder):
        faults.append(f"{folder}: cannot be read (Permission denied); {_FIX_CREDENTIAL}")
        folder = ""
    for section, key in _SECRETS:
        name = f"imhearing_{section}_{key}"
        if folder and (credential := _read_credential(Path(folder) / name, faults)) is not None:
            values[section, key] = (credential, str(Path(folder) / name))
        if name.upper() in environ:
            values[section, key] = (environ[name.upper()], f"${name.upper()}")
    return values


def _is_inaccessible(folder: str) -> bool:
    """Whether the folder exists but its files cannot be accessed: reported once, not for each secret."""
    try:
        os.lstat(f"{folder}/.")  # a string, as Path would drop the dot
    except PermissionError:
        return True
    except OSError:
        pass
    return False


def _read_credential(path: Path, faults: list[str]) -> str | None:
    """The file's content; None if it does not exist (an unused secret) or cannot be used (adds a fault)."""
    try:
        return path.read_text(encoding=_UTF8).strip()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except UnicodeDecodeError:
        faults.append(f"{path}: is not UTF-8 text; write the secret again")
    except OSError as problem:
        faults.append(f"{path}: cannot be read ({problem.strerror}); {_FIX_CREDENTIAL}")
    return None


def _read_overrides(overrides: Sequence[str], faults: list[str]) -> Values:
    values: Values = {}
    for text in overrides:
        match = re.fullmatch(r"(\w+)\.(\w+)=(.*)", text, re.DOTALL)
        if not match:
            faults.append(f"--set {text[:60]}: expected SECTION.KEY=VALUE, such as recorder.record_period=5")
            continue
        section, key, value = match.groups()
        if section not in _SECTIONS:
            faults.append(f"--set {section}.{key}: unknown section [{section}]; {suggest(section, _SECTIONS)}")
            continue
        values[section, key] = (value, f"--set {section}.{key}")
    return values


def _build(values: Values, faults: list[str]) -> Settings:
    built: dict[str, Any] = {}
    for section, struct in _SECTIONS.items():
        hints = _HINTS[section]
        given: dict[str, Any] = {}
        for (where, key), (text, place) in values.items():
            if where != section:
                continue
            if key not in hints:
                faults.append(f"{place}: unknown setting; {suggest(key, hints)}")
                continue
            try:
                given[key] = _value(text, hints[key])
            except (msgspec.ValidationError, ValueError) as problem:
                shown = "***" if (section, key) in _SECRETS else repr(text[:60])
                faults.append(f"{place} = {shown}: {_describe_invalid(str(problem), hints[key])}")
        built[section] = struct(**given)
    settings = Settings(**built)
    for key, names in ("name", (settings.node.name,)), ("former_names", settings.node.earlier_names):
        for name in names:
            if name and not is_node_name(name):
                fault = "use up to 63 of a-z, 0-9, _ and - (but not `all`), for example porch"
                faults.append(f"{_source_of(values, 'node', key)} = {name[:60]!r}: {fault}")
    faults += _check_hosts(settings, values)
    faults += _check_place_and_schedule(settings, values)
    faults += _check_upload_window(settings, values)
    faults += _check_encodable(settings, values)
    faults += [f"{_source_of(values, section, key)}: {problem}" for section, key, problem in malformed(settings)]
    return settings


def _check_hosts(settings: Settings, values: Values) -> list[str]:
    """Faults in what must be a host name or an address, and not a URL."""
    hosts = {"mqtt": "" if settings.mqtt.socket_path is not None else settings.mqtt.host, "http": settings.http.host}
    return [
        f"{_source_of(values, section, 'host')}: expected only a host name or an address{_suggest_host(host)}"
        for section, host in hosts.items()
        if host and not _HOST.fullmatch(host) and not _is_address(host)
    ]


def _suggest_host(url: str) -> str:
    """The settings that a URL seems to mean. It is not quoted, as it may contain a password."""
    try:
        parts = urlsplit(url if "//" in url else f"//{url}")
        host, port = parts.hostname, parts.port
    except ValueError:
        return ""
    if not host or not (_HOST.fullmatch(host) or _is_address(host)):
        return ""
    changes = [f"host = {host}", *([f"port = {port}"] if port else [])]
    if parts.scheme in ("mqtts", "ssl", "tls", "wss"):
        changes.append("tls = on")
    if parts.scheme in ("ws", "wss"):
        changes.append("transport = websockets")
    return f"; use {', '.join(changes)}"


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _check_place_and_schedule(settings: Settings, values: Values) -> list[str]:
    """The fault in the node's position, else in its schedule."""
    try:
        place_of(settings.node)
    except ValueError as problem:
        key = "longitude" if str(problem).startswith("longitude") else "latitude"
        return [f"{_source_of(values, 'node', key)}: {problem}"]
    try:
        schedule_of(settings)
    except ValueError as problem:
        return [f"{_source_of(values, 'recorder', 'schedule')}: {problem}"]
    return []


def _check_upload_window(settings: Settings, values: Values) -> list[str]:
    window = settings.archive.upload_window
    since, _, until = window.partition("-")
    if not window or since != until:
        return []
    source = _source_of(values, "archive", "upload_window")
    return [f"{source}: {window!r} starts and ends at the same time; leave it empty to upload all day"]


def _check_encodable(settings: Settings, values: Values) -> list[str]:
    """Not for a sound file, whose rate and channels are known only when it is opened."""
    recorder = settings.recorder
    if recorder.source not in ("auto", "microphone", "synthetic"):
        return []
    fault = check_encodable(
        recorder.sample_rate, recorder.channels, recorder.bits, recorder.format, recorder.record_period
    )
    key = "sample_rate" if recorder.format == "flac" else "record_period"
    return [f"{_source_of(values, 'recorder', key)}: {fault}"] if fault is not None else []


def _source_of(values: Values, section: str, key: str) -> str:
    return values[section, key][1] if (section, key) in values else f"[{section}] {key}"


def _value(text: str, hint: Any) -> Any:
    base = get_args(hint)[0]
    text = " ".join(filter(None, map(str.strip, text.splitlines())))  # INI allows values over several lines
    if _UNUSABLE.search(text):
        raise ValueError("expected UTF-8 text without control characters")
    if base is Secret:
        return Secret(text)
    if base is Path:
        if not text:
            raise ValueError("expected a path")
        return expand_user(Path(text))
    if get_args(base) and isinstance(get_args(base)[0], int):  # msgspec does not parse text for a Literal of numbers
        return msgspec.convert(msgspec.convert(text, int, strict=False), hint)
    value = msgspec.convert(text, hint, strict=False)
    if isinstance(value, float) and not abs(value) < 1e15:
        raise ValueError("expected a finite number")
    return value


def _resolve(settings: Settings, data_dir: Path) -> Settings:
    replace = msgspec.structs.replace

    def absolute(path: str) -> str:
        return path and str(data_dir / expand_user(Path(path)))

    mqtt = settings.mqtt
    files = {key: absolute(getattr(mqtt, key)) for key in ("ca_file", "cert_file", "key_file")}
    host = UNIX + absolute(mqtt.socket_path) if mqtt.socket_path else mqtt.host
    return replace(
        settings,
        node=replace(settings.node, name=settings.node.name or node_name_from_host(socket.gethostname())),
        recorder=replace(settings.recorder, record_path=data_dir / settings.recorder.record_path),
        catalog=replace(settings.catalog, db_path=data_dir / settings.catalog.db_path),
        log=replace(settings.log, log_file=absolute(settings.log.log_file)),
        mqtt=replace(mqtt, host=host, **files),
        s3=replace(settings.s3, ca_file=absolute(settings.s3.ca_file)),
    )


def to_ini(settings: Settings, heading: str) -> str:
    """A config.ini with the settings that differ from their defaults. Contains secrets in clear: write it 0600."""
    lines = [f"# {line}" for line in heading.splitlines()]
    for section, struct in _SECTIONS.items():
        now, default = asdict(getattr(settings, section)), asdict(struct())
        changed = {key: value for key, value in now.items() if value != default[key]}
        if changed:
            lines += ["", f"[{section}]"]
            lines += [
                f"{key} = {value.reveal() if isinstance(value, Secret) else value}" for key, value in changed.items()
            ]
    return "\n".join(lines) + "\n"


def example_ini() -> str:
    """config_example.ini: each setting with its meaning, bounds, default and an example."""
    lines = [
        "# Im Hearing: every setting and its default. Copy this file, change what you need, delete the rest.",
        "# Start a node with it:  scripts/up --config my.ini        Check the node:  imhearing status --config my.ini",
        "# A limit of 0 is off. If the file contains secrets, keep it private: chmod 600 my.ini",
        "# Secrets can also be set in the environment: " + ", ".join(f"IMHEARING_{s}_{k}".upper() for s, k in _SECRETS),
    ]
    for section, struct in _SECTIONS.items():
        lines += ["", f"[{section}]"]
        hints = _HINTS[section]
        for item in fields(struct):
            meta = next(part for part in get_args(hints[item.name])[1:] if isinstance(part, Meta))
            lines.append(f"# {meta.description}{_bounds(hints[item.name], meta)}")
            if meta.examples:
                lines.append(f"#   Example: {item.name} = {meta.examples[0]}")
            lines.append(f"{item.name} = {item.default}".rstrip())
    return "\n".join(lines) + "\n"


def _bounds(hint: Any, meta: Meta) -> str:
    if options := get_args(get_args(hint)[0]):
        return f" One of: {', '.join(map(str, options))}."
    if meta.ge is not None and meta.le is not None:
        return f" {meta.ge:g} to {meta.le:g}."
    return f" At least {meta.ge:g}." if meta.ge else ""


def _describe_invalid(problem: str, hint: Any) -> str:
    """msgspec's message about an invalid value, in plain English."""
    if options := get_args(get_args(hint)[0]):
        return f"expected one of: {', '.join(map(str, options))}"
    if "matching regex" in problem:
        return f"expected text such as {_example(hint)}"
    problem = problem.replace("`", "")
    for kind, plain in {"int": "a whole number", "float": "a number"}.items():
        problem = re.sub(rf"Expected {kind}\b", f"expected {plain}", problem)
    return problem.split(", got ")[0]


def _example(hint: Any) -> str:
    meta = next(part for part in get_args(hint)[1:] if isinstance(part, Meta))
    return str((meta.examples or [""])[0])


def _describe_parse_error(problem: configparser.Error) -> str:
    """What is wrong and where, without quoting the line: it may contain a secret."""
    match problem:
        case configparser.MissingSectionHeaderError():
            return f"line {problem.lineno} is outside any section; add one above it, such as [recorder]"
        case configparser.DuplicateOptionError():
            return f"line {problem.lineno}: [{problem.section}] {problem.option} is set twice; keep one of them"
        case configparser.DuplicateSectionError():
            return f"line {problem.lineno}: [{problem.section}] appears twice; keep one of them"
        case configparser.ParsingError():
            lines = ", ".join(str(number) for number, _ in problem.errors)
            return f"line {lines} is neither `[section]` nor `key = value`"
        case _:
            return f"is not a valid configuration file ({type(problem).__name__}); start from config_example.ini"


_SECTIONS: dict[str, Any] = get_type_hints(Settings)
_HINTS = {section: get_type_hints(struct, include_extras=True) for section, struct in _SECTIONS.items()}
_SECRETS = tuple(
    (section, key) for section, hints in _HINTS.items() for key, hint in hints.items() if get_args(hint)[0] is Secret
)

if __name__ == "__main__":
    print(example_ini(), end="")
