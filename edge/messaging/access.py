"""Access rights of each account on the broker, and Mosquitto's configuration made from them. Pure.

For Mosquitto 2.0 (2.0.11 of Debian 12, 2.0.21 of Debian 13). `per_listener_settings`, `acl_file` and `password_file`
are deprecated since 2.1, where they still work, and will be removed in 3.0.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

from edge.messaging import topics
from edge.messaging.commands import COMMANDS, QUERY_VERB
from edge.messaging.events import ArchiverStatus, RecorderStatus
from edge.messaging.topics import HOME_ASSISTANT

Account = Literal["recorder", "archiver", "query", "control", "viewer"]
ACCOUNTS: tuple[Account, ...] = get_args(Account)
PURPOSE: dict[Account, str] = {
    "recorder": "the recorder",
    "archiver": "the archiver",
    "query": "the query service",
    "control": "home automation, and commands such as `imhearing pause` and `imhearing watch`",
    "viewer": "read-only: levels, sounds and states, but no commands and no links to sound",
}
ETC = "/etc/mosquitto/imhearing"


class Right(NamedTuple):
    access: Literal["read", "write"]
    topic: str


def rights(account: Account | None, node: str, prefix: str = HOME_ASSISTANT) -> list[Right]:
    """What an account of `node` may do; None: an anonymous client, which only loopback allows."""
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
        case _:
            return read_events


def _verbs_sent_by(account: Account | None) -> list[str]:
    verbs = [command.VERB for command in COMMANDS if account in command.SENT_BY]
    return [*verbs, QUERY_VERB] if account == "control" else verbs


def _requests_read_by(service: Literal["recorder", "archiver"], node: str) -> list[Right]:
    """Each verb by itself: what is retained on other request topics must not reach a service."""
    return [Right("read", topics.request(node, command.VERB)) for command in COMMANDS if service == command.BY]


def user_of(account: Account, node: str) -> str:
    return f"{node}-{account}"


def acl_text(node: str, prefix: str = HOME_ASSISTANT) -> str:
    """Mosquitto's acl_file. What no line grants is denied, `$SYS` too. `prefix` is Home Assistant's."""
    lines = [
        f"# Written by `imhearing broker-setup` for the node {node}. What no line grants is denied.",
        "",
        "# Anonymous clients, on loopback only. Not response/#: it may carry links to sound.",
        *_lines(None, node, prefix),
    ]
    for account in ACCOUNTS:
        lines += ["", f"# {PURPOSE[account]}", f"user {user_of(account, node)}", *_lines(account, node, prefix)]
    return "\n".join(lines) + "\n"


def _lines(account: Account | None, node: str, prefix: str) -> list[str]:
    return [f"topic {right.access} {right.topic}" for right in rights(account, node, prefix)]


def configuration(
    folder: str = ETC, data: str = "/var/lib/mosquitto", loopback_port: int = 1883, tls_port: int = 8883
) -> str:
    """mosquitto.conf for a home network. `folder` holds the files of broker-setup, `data` retained messages."""
    return f"""\
# A node's broker, ready for a home network. For Mosquitto 2.0; `imhearing up` starts a broker of its own and does not
# need this file. To use it for the system's broker (it replaces Debian's own file):
#   sudo imhearing broker-setup --into {folder} --name THIS-HOST.local
#   sudo install -m 644 mosquitto.conf /etc/mosquitto/mosquitto.conf
#   sudo systemctl enable --now mosquitto && sudo systemctl restart mosquitto
# A node set up by scripts/install already reads it from {folder}; there, after the first line, only:
#   sudo systemctl restart imhearing-broker
#
# Since Mosquitto 2.1 `per_listener_settings`, `acl_file` and `password_file` are deprecated: they work, with a warning,
# until 3.0. From then on, set `listener_allow_anonymous` for each listener and load the plug-ins acl-file and
# password-file instead.

# Otherwise anonymous clients would be accepted from the network too.
per_listener_settings true

# This machine only. Anonymous clients may read events, which helps with troubleshooting: mosquitto_sub -v -t '#'
listener {loopback_port} localhost
allow_anonymous true
password_file {folder}/passwords
acl_file {folder}/acl

# The network: encrypted, and only with user and password.
listener {tls_port}
allow_anonymous false
password_file {folder}/passwords
acl_file {folder}/acl
certfile {folder}/server.crt
keyfile {folder}/server.key
tls_version tlsv1.2

# Through a web proxy or from a browser: the same over WebSocket.
# listener 8884
# protocol websockets
# (and the six lines of the listener above)

# Retained messages survive a restart. They are saved every minute (Mosquitto's default is half an hour): a killed
# broker loses what it acknowledged since, which is why Im Hearing publishes retained messages again, rescans the
# spool, and never relies on the delivery of a message.
persistence true
persistence_location {data}/
autosave_interval 60
# The session and queue of a client that stays away for two weeks are dropped.
persistent_client_expiration 14d

# Limits, so that one bad or absent client exhausts neither the memory of a small Pi nor the messages of others.
max_connections 100
# Per client; a night of sounds can exceed the default of 1000 while a client is stopped.
max_queued_messages 10000
max_queued_bytes 8388608
# Answers are at most 48 kB.
max_packet_size 262144
# Otherwise an answer waits 40 ms for the acknowledgement of the packet before it.
set_tcp_nodelay true
# No statistics of the broker itself.
sys_interval 0

# To the journal (systemd) or the terminal, not to a file of its own on the SD card.
log_dest stderr
log_type error
log_type warning
log_type notice
log_timestamp_format %Y-%m-%dT%H:%M:%S
"""
