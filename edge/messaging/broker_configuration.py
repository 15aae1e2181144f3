"""Mosquitto's configuration: of the node's own broker, and of one that it shares with other devices. Pure.

For Mosquitto 2.0 (2.0.11 of Debian 12, 2.0.21 of Debian 13). `per_listener_settings`, `acl_file` and `password_file`
are deprecated since 2.1, where they still work, and will be removed in 3.0.
"""

from __future__ import annotations

from typing import NamedTuple

from edge.messaging.messages import MAX_PACKET

ETC = "/etc/mosquitto/imhearing"
SOCKET = "/run/imhearing-broker/mqtt.sock"  # of an installed node; the folder is the broker's RuntimeDirectory=
_DATA = "/var/lib/mosquitto"
_MIB = 1 << 20


class _Limits(NamedTuple):
    """Bytes and counts; those of a queue are per client."""

    memory: int
    packet: int
    queued_messages: int
    queued_bytes: int
    session_expiry: str


# tests/integration/messaging/test_own_broker.py: ten clients that stop reading do not fill the memory
_OWN = _Limits(48 * _MIB, MAX_PACKET, 1_000, _MIB, "1d")
_SHARED = _Limits(256 * _MIB, 262_144, 10_000, 8 * _MIB, "14d")


def own_broker(socket: str, folder: str = ETC, data: str = _DATA, tls_port: int | None = 8883) -> str:
    """mosquitto.conf of the node's own broker. `folder` holds the files of the accounts, `data` retained messages.

    Without `tls_port`, this machine is all that can reach it.
    """
    network = "" if tls_port is None else f"\n{_network(folder, tls_port)}"
    return f"""\
# The node's own broker. Written by imhearing; changes are lost.

# Otherwise all listeners would share the first one's settings.
per_listener_settings true

# This machine: a socket in a folder that only the broker can write, so that no other program can take its place and
# receive passwords. Clients from the network cannot use up its connections.
listener 0 {socket}
max_connections 50
{_logins(folder)}{network}
{_rest(_OWN, data)}{"" if tls_port is not None else "connection_messages false" + chr(10)}"""


def shared_broker(folder: str = ETC, data: str = _DATA, loopback_port: int = 1883, tls_port: int = 8883) -> str:
    """mosquitto.conf for a home network, whose broker also serves other devices."""
    return f"""\
# A broker for a home network, which the node shares with other devices. For Mosquitto 2.0. A node installed by
# scripts/install, or run by `imhearing up`, has a broker of its own and does not need this file. To use it for the
# system's broker (it replaces Debian's own file):
#   sudo imhearing broker-setup --into {folder} --name THIS-HOST.local
#   sudo install -m 644 mosquitto.conf /etc/mosquitto/mosquitto.conf
#   sudo systemctl enable --now mosquitto && sudo systemctl restart mosquitto
#
# Since Mosquitto 2.1 `per_listener_settings`, `acl_file` and `password_file` are deprecated: they work, with a warning,
# until 3.0. From then on, set `listener_allow_anonymous` for each listener and load the plug-ins acl-file and
# password-file instead.

# Otherwise all listeners would share the first one's settings.
per_listener_settings true

# This machine only. Any program may take this port while the broker is not running, and would then receive passwords:
# on a machine with other users, set `[mqtt] tls = on` and `port = {tls_port}` for the node here as well.
listener {loopback_port} localhost
max_connections 100
{_logins(folder)}
{_network(folder, tls_port)}
# Through a web proxy or from a browser: the same over WebSocket.
# listener 8884
# protocol websockets
# (and the seven lines of the listener above)

{_rest(_SHARED, data)}"""


def _logins(folder: str) -> str:
    return f"""\
allow_anonymous false
password_file {folder}/passwords
acl_file {folder}/acl
"""


def _network(folder: str, port: int) -> str:
    return f"""\
# The network: encrypted. Mosquitto has no limit per address, so a single host can take all these connections, each for
# 90 s without logging in: docs/security.md has a firewall rule against it.
listener {port}
max_connections 100
{_logins(folder)}certfile {folder}/server.crt
keyfile {folder}/server.key
tls_version tlsv1.2
"""


def _rest(limits: _Limits, data: str) -> str:
    return f"""\
# Retained messages survive a restart. They are saved every minute (Mosquitto's default is half an hour): a killed
# broker loses what it acknowledged since, which is why Im Hearing publishes retained messages again, rescans the
# spool, and never relies on the delivery of a message.
persistence true
persistence_location {data}/
autosave_interval 60

# Limits, so that one bad or absent client exhausts neither the memory of a small Pi nor the messages of others.
# Bytes in all: whatever would exceed them is refused, and whoever asked for it is disconnected. Queues must fit in.
memory_limit {limits.memory}
# Bytes: whoever sends more is disconnected. The node's largest is {MAX_PACKET}.
max_packet_size {limits.packet}
# Per client that is away or does not read; what comes when its queue is full is lost to it.
max_queued_messages {limits.queued_messages}
max_queued_bytes {limits.queued_bytes}
# The session and queue of a client that stays away for longer are dropped.
persistent_client_expiration {limits.session_expiry}
# Seconds, for MQTT 5: whoever is silent for one and a half times as long is disconnected.
max_keepalive 120
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
