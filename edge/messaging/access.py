"""The accounts on the broker and their access rights, as Mosquitto's password and ACL files. No I/O."""

from __future__ import annotations

import hashlib
import secrets
from base64 import b64encode
from typing import Literal, NamedTuple, get_args

from edge.messaging import topics
from edge.messaging.commands import COMMANDS, QUERY_VERB
from edge.messaging.events import ArchiverStatus, RecorderStatus
from edge.messaging.topics import HOME_ASSISTANT

Account = Literal["recorder", "archiver", "query", "control", "page", "viewer"]
ACCOUNTS: tuple[Account, ...] = get_args(Account)
Passwords = dict[Account, str]
PURPOSE: dict[Account, str] = {
    "recorder": "the recorder",
    "archiver": "the archiver",
    "query": "the query service",
    "control": "home automation, and commands such as `imhearing pause` and `imhearing watch`",
    "page": "what the web page's owner orders, each with the owner's proof",
    "viewer": "read-only: levels, sounds and states, but no commands and no links to sound",
}
_ITERATIONS = 101  # as `mosquitto_passwd`: the passwords are random, and each login costs them


class Right(NamedTuple):
    access: Literal["read", "write"]
    topic: str


def rights(account: Account, node: str, prefix: str = HOME_ASSISTANT) -> list[Right]:
    """What an account of `node` may do. `prefix` is Home Assistant's."""
    read_events = [Right("read", topics.event(node, f"{service}/#")) for service in ("recorder", "archiver", "query")]
    answers = Right("write", topics.response(node, "#"))
    requests = [Right("write", topics.request(node, verb)) for verb in _verbs_sent_by(account)]
    match account:
        case "recorder":
            return [
                Right("write", topics.event(node, "recorder/#")),
                Right("read", RecorderStatus.topic_of(node)),
                *_requests_read_by("recorder", node),
                answers,
                Right("write", topics.discovery(node, prefix)),
                Right("read", topics.home_assistant_status(prefix)),
            ]
        case "archiver":
            return [
                Right("write", topics.event(node, "archiver/#")),
                Right("read", ArchiverStatus.topic_of(node)),
                Right("read", topics.event(node, "recorder/#")),
                *_requests_read_by("archiver", node),
                answers,
            ]
        case "query":
            return [
                Right("write", topics.event(node, "query/#")),
                *read_events,
                Right("read", topics.request(node, QUERY_VERB)),
                answers,
            ]
        case "control":
            return [
                *read_events,
                *requests,
                Right("read", topics.response(node, "#")),
                Right("read", f"{prefix}/#"),
                Right("write", topics.home_assistant_status(prefix)),
            ]
        case "page":
            return [*requests, Right("read", topics.response(node, topics.owners("#")))]
        case "viewer":
            return read_events


def _verbs_sent_by(account: Account) -> list[str]:
    verbs = [command.VERB for command in COMMANDS if account in command.SENT_BY]
    if account == "page":
        return [topics.owners(verb) for verb in verbs]
    return [*verbs, QUERY_VERB] if account == "control" else verbs


def _requests_read_by(service: Literal["recorder", "archiver"], node: str) -> list[Right]:
    """Each verb by itself: what is retained on other request topics must not reach a service."""
    own = [command for command in COMMANDS if service == command.BY]
    return [Right("read", topics.request(node, verb)) for command in own for verb in command.requests()]


def user_of(account: Account, node: str) -> str:
    return f"{node}-{account}"


def acl_text(node: str, prefix: str = HOME_ASSISTANT) -> str:
    """Mosquitto's acl_file. What no line grants is denied, `$SYS` too."""
    lines = [f"# Written by imhearing for the node {node}. What no line grants is denied."]
    for account in ACCOUNTS:
        lines += ["", f"# {PURPOSE[account]}", f"user {user_of(account, node)}"]
        lines += [f"topic {right.access} {right.topic}" for right in rights(account, node, prefix)]
    return "\n".join(lines) + "\n"


def new_passwords() -> Passwords:
    return {account: secrets.token_urlsafe(18) for account in ACCOUNTS}


def password_text(node: str, passwords: Passwords) -> str:
    """Mosquitto's password_file: PBKDF2 with SHA-512, which 2.0 reads."""
    return "".join(f"{user_of(account, node)}:{_hashed(password)}\n" for account, password in passwords.items())


def _hashed(password: str) -> str:
    salt = secrets.token_bytes(12)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _ITERATIONS)
    return f"$7${_ITERATIONS}${b64encode(salt).decode()}${b64encode(digest).decode()}"
