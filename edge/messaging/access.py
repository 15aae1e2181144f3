"""Who may do what on the broker: the rights of each role, and Mosquitto's configuration made from them. Pure.

For Mosquitto 2.0 (2.0.11 of Debian 12, 2.0.21 of Debian 13). `per_listener_settings`, `acl_file` and `password_file`
are deprecated from 2.1 on, where they still work, and go in 3.0.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

from edge.messaging import topics
from edge.messaging.commands import COMMANDS, EVERY_VERB, QUERY_VERB
from edge.messaging.events import ArchiverStatus, RecorderStatus
from edge.messaging.topics import HOME_ASSISTANT

Account = Literal["recorder", "archiver", "query", "control", "viewer"]
ACCOUNTS: tuple[Account, ...] = get_args(Account)
PURPOSE: dict[Account, str] = {
    "recorder": "the recorder",
    "archiver": "the archiver",
    "query": "the query service",
    "control": "home automation, and `imhearing pause`, `watch` and their like",
    "viewer": "looks on: levels, sounds and states, no commands and no links to sound",
}
ETC = "/etc/mosquitto/imhearing"


class Right(NamedTuple):
    access: Literal["read", "write"]
    topic: str


def rights(account: Account | None, node: str, prefix: str = HOME_ASSISTANT) -> list[Right]:
    """What an account of `node` may do; None: whoever connects without a name, which only loopback allows."""
    looks_on = [Right("read", topics.event(node, f"{service}/#")) for service in ("recorder", "archiver", "query")]
    answers = Right("write", topics.response(node, "#"))
    requests = [Right("write", topics.request(node, verb)) for verb in _verbs_sent_by(account)]
    match account:
        case "recorder":
            return [
                Right("write", topics.event(node, "recorder/#")),
                Right("read", RecorderStatus.topic_of(node)),
                Right("read", topics.request(node, "#")),  # it refuses unknown commands for all
                answers,
                Right("write", topics.discovery(node, prefix)),
                Right("read", topics.home_assistant_status(prefix)),
            ]
        case "archiver":
            return [
                Right("write", topics.event(node, "archiver/#")),
                Right("read", ArchiverStatus.topic_of(node)),
                Right("read", topics.event(node, "recorder/#")),
                *(Right("read", topics.request(node, each.VERB)) for each in COMMANDS if each.BY == "archiver"),
                answers,
            ]
        case "query":
            return [
                Right("write", topics.event(node, "query/#")),
                *looks_on,
                Right("read", topics.request(node, QUERY_VERB)),
                answers,
            ]
        case "control":
            return [
                *looks_on,
                *requests,
                Right("read", topics.response(node, "#")),
                Right("read", f"{prefix}/#"),
                Right("write", topics.home_assistant_status(prefix)),
            ]
        case _:
            return looks_on


def _verbs_sent_by(account: Account | None) -> list[str]:
    verbs = [command.VERB for command in COMMANDS if account in command.SENT_BY]
    verbs += [QUERY_VERB] if account == "control" else []
    return ["#"] if EVERY_VERB.issubset(verbs) else verbs


def user_of(account: Account, node: str) -> str:
    """The name that an account logs in with."""
    return f"{node}-{account}"


def acl_text(node: str, prefix: str = HOME_ASSISTANT) -> str:
    """Mosquitto's acl_file. Whatever no line grants is refused, `$SYS` too. `prefix` is Home Assistant's."""
    lines = [
        f"# Written by `imhearing broker-setup` for the node {node}. Whatever no line grants is refused.",
        "",
        "# Whoever connects without a name, on loopback only. Not response/#: it may carry links to sound.",
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
    """mosquitto.conf for a home network. `folder` holds what broker-setup wrote, `data` what is retained."""
    return f"""\
# The broker of a node, ready for a home network. For Mosquitto 2.0; `imhearing up` starts a broker of its own and does
# not need this file. To make it the system's broker (it takes the place of Debian's own file):
#   sudo imhearing broker-setup --into {folder} --name THIS-HOST.local
#   sudo install -m 644 mosquitto.conf /etc/mosquitto/mosquitto.conf
#   sudo systemctl enable --now mosquitto && sudo systemctl restart mosquitto
# A node made by scripts/install reads it in {folder} already; there, after the first line, only:
#   sudo systemctl restart imhearing-broker
#
# From Mosquitto 2.1 on `per_listener_settings`, `acl_file` and `password_file` are deprecated: they work, with a
# warning, until 3.0. There, say `listener_allow_anonymous` for each listener and load the plug-ins acl-file and
# password-file instead.

# Else a nameless client would be let in through the network's door as well.
per_listener_settings true

# This machine alone. Without a name one may look on, which helps when something is wrong: mosquitto_sub -v -t '#'
listener {loopback_port} localhost
allow_anonymous true
password_file {folder}/passwords
acl_file {folder}/acl

# The network: encrypted, and only with a name and a password.
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

# Retained messages outlive a restart. Written every minute (Mosquitto's default is half an hour): a killed broker
# forgets up to that much although it has acknowledged it, which is why Im Hearing's programs say again what is
# retained, look at the spool again, and never rely on a message having arrived.
persistence true
persistence_location {data}/
autosave_interval 60
# A program that has not come back for two weeks is not coming: its session and its queue go.
persistent_client_expiration 14d

# Limits, so that one bad or absent client costs neither the memory of a small Pi nor the messages of others.
max_connections 100
# Per client; the default of 1000 is what a night of sounds can pass while a program is stopped.
max_queued_messages 10000
max_queued_bytes 8388608
# Answers are at most 48 kB.
max_packet_size 262144
# Else a question's answer waits 40 ms for the acknowledgement of what was sent before it.
set_tcp_nodelay true
# The broker's own statistics are nobody's business.
sys_interval 0

# To the journal (systemd) or the terminal, not to a file of its own on the SD card.
log_dest stderr
log_type error
log_type warning
log_type notice
log_timestamp_format %Y-%m-%dT%H:%M:%S
"""
