"""`imhearing page`: links that open the web page as its owner, passwords for others, proofs for programs."""

from __future__ import annotations

import argparse
import getpass
import sys
import time
from pathlib import Path

from msgspec.structs import replace

from commands.cli.common import data_dir, load_settings, print_message
from commands.doctor import installed
from commands.up.plan import load_state, save_state, with_owner_key
from edge.core.errors import ConfigError, ImHearingError, UsageError
from edge.core.files import write_atomically
from edge.embedded import ports
from edge.messaging.owner_proof import PROOF_SECONDS, make_proof, signing_key
from query_service.doors.sessions import password_hash
from query_service.page.codes import CODE_SECONDS
from query_service.page.link import owner_link

_SHORTEST = 8  # characters


def run(args: argparse.Namespace) -> int:
    """ConfigError, ImHearingError, UsageError."""
    if args.action == "password":
        return _set_password(args)
    if args.viewer:
        raise UsageError(f"--viewer: only for `imhearing page password`; a {args.action} is the owner's")
    return _print_link(args) if args.action == "link" else _print_proof(args)


def _print_link(args: argparse.Namespace) -> int:
    settings = load_settings(args)
    if not settings.http.port:
        raise ConfigError(["[http] port is 0: the node has no page; set it, such as to 8480, and restart the node"])
    if not settings.query.cursor_key.reveal():
        raise ConfigError(["[query] cursor_key is empty, and signs the link; set it to a random text, and restart"])
    print(owner_link(settings.http, settings.query.cursor_key.reveal()), flush=True)
    print_message(f"opens the page as the owner, once, within {CODE_SECONDS / 60:.0f} minutes")
    if not settings.http.url and not ports.answers(settings.http.port):
        print_message("but nothing answers there: start the node first (`imhearing up`, or its services)")
    return 0


def _print_proof(args: argparse.Namespace) -> int:
    owner_key = load_settings(args).http.owner_key.reveal()
    if not owner_key:
        raise ConfigError(["[http] owner_key is empty, and signs the proof; set it to a random text, and restart"])
    print(make_proof(signing_key(owner_key), time.time()), flush=True)
    print_message(f"shows that the owner sent a command, for {PROOF_SECONDS / 86_400:.0f} days: see docs/mqtt.md")
    return 0


def _set_password(args: argparse.Namespace) -> int:
    role = "viewer" if args.viewer else "owner"
    if installed.is_installed(data_dir(args), args.config):
        stored = password_hash(_asked(role), "" if args.viewer else load_settings(args).http.owner_key.reveal())
        _store(installed.CREDENTIALS / f"imhearing_http_{role}_password", stored)
        print_message(f"the {role}'s password is set; it counts after: {installed.RESTART}")
        return 0
    folder = data_dir(args)
    state, owner_key = with_owner_key(load_state(folder), load_settings(args).http)
    stored = password_hash(_asked(role), "" if args.viewer else owner_key)
    save_state(folder, replace(state, page_passwords={**state.page_passwords, role: stored}))
    print_message(f"the {role}'s password is set; it counts from the next start of `imhearing up --data {folder}` on")
    return 0


def _asked(role: str) -> str:
    """From the terminal, twice; or one line of standard input."""
    if not sys.stdin.isatty():
        password = sys.stdin.readline().rstrip("\n")
    else:
        password = getpass.getpass(f"new password of the page's {role}: ")
        if getpass.getpass("the same again: ") != password:
            raise UsageError("the two passwords differ; nothing was changed")
    if len(password) < _SHORTEST:
        raise UsageError(f"a password needs at least {_SHORTEST} characters; nothing was changed")
    return password


def _store(path: Path, text: str) -> None:
    try:
        write_atomically(path, text.encode(), 0o600)
    except OSError as problem:
        raise ImHearingError(f"{path}: cannot be written ({problem.strerror}); run this with sudo") from None
