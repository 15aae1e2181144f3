"""A node installed by `scripts/install`: its paths, its services, and where its secrets come from."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Mapping
from pathlib import Path

from edge.configuration import loader as config

RECORDER, ARCHIVER = "imhearing-recorder", "imhearing-archiver"  # users; the query service's owns nothing
DATA, CONFIG = Path("/var/lib/imhearing"), Path("/etc/imhearing/config.ini")
CREDENTIALS = Path("/etc/credstore")
UNITS = Path("/etc/systemd/system")
OWN_BROKER = "imhearing-broker"
SETUP = "/opt/imhearing/current/scripts/setup"
INSTALL = "/opt/imhearing/current/scripts/install"
RESTART = "sudo systemctl restart imhearing.target"


def is_installed(data_dir: Path, config_file: Path | None) -> bool:
    """Recognised by its paths, which `deploy/imhearing` passes and no other node uses."""
    return data_dir == DATA and config_file == CONFIG


def uid_of(user: str) -> int | None:
    """None where there is no such user."""
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        return None


def can_archiver_write(spool: os.stat_result) -> bool:
    """Whether the spool's folder is one that the archiver, besides the recorder, may write to."""
    try:
        group = grp.getgrnam(ARCHIVER).gr_gid
    except KeyError:
        return False
    return spool.st_gid == group and bool(spool.st_mode & stat.S_IWGRP)


def broker_service() -> str:
    """The broker's service on this machine: the node's own if installed (it replaces Debian's), else Debian's."""
    return OWN_BROKER if (UNITS / f"{OWN_BROKER}.service").exists() else "mosquitto"


def is_own_broker(folder: Path) -> bool:
    """Whether `folder` holds the files of the node's own broker, as scripts/install marks it."""
    return (folder / ".ours").exists()


def overriding_source(section: str, key: str, environ: Mapping[str, str] = os.environ) -> str:
    """What overrides this secret in config.ini: `$VARIABLE` or a credential's path; empty if nothing does."""
    name = f"imhearing_{section}_{key}"
    if not config.is_secret(section, key):
        return ""
    if name.upper() in environ:
        return f"${name.upper()}"
    folder = environ.get("CREDENTIALS_DIRECTORY", "")
    path = Path(folder, name)
    return str(path) if folder and os.access(path, os.F_OK) else ""


def paste_into_credentials(section: str, key: str) -> str:
    """The command that reads a secret from the terminal, up to Ctrl-D."""
    return f"sudo install -m 600 /dev/stdin {CREDENTIALS}/imhearing_{section}_{key}"
