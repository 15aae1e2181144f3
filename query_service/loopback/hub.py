"""The life of a connection: connect, resume, frames, new tokens, close, and timeouts. Knows no sockets."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping

from query_service.loopback.auth import Authority, Grant
from query_service.loopback.channel_actions import (
    apply_grant,
    attach,
    change_presence,
    detach,
    leave_all,
    publish_frame,
    sync,
)
from query_service.loopback.channels import State
from query_service.loopback.connections import WS_GOING_AWAY, WS_OK, WS_POLICY, Connection, ServerLimits, SocketQueue
from query_service.loopback.inbound import Inbound, Malformed, decode
from query_service.loopback.protocol import Action, Encoded, ErrorInfo, Frame, Refusal, format_of

_UNKNOWN = ErrorInfo("the connection to resume is unknown or has expired", 80018, 400)
_EXPIRED = ErrorInfo("the token has expired", 40142, 401)
_NO_SERIAL = ErrorInfo("a publish needs a msgSerial", 40000, 400)

_MILLISECONDS = re.compile(r"\d{1,9}", re.ASCII)

Handler = Callable[[State, Connection, Inbound], None]


class Hub:
    """Applies the rules of the protocol to a State. All methods are quick and must run in one thread."""

    def __init__(
        self,
        authority: Authority,
        limits: ServerLimits,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.state = State(authority, limits, clock, monotonic)
        self._publishers: dict[int, Handler] = {
            Action.MESSAGE: publish_frame,
            Action.PRESENCE: change_presence,
            Action.OBJECT: _not_offered,
            Action.ANNOTATION: _not_offered,
        }
        self._handlers: dict[int, Handler] = {
            Action.HEARTBEAT: _echo,
            Action.ATTACH: attach,
            Action.DETACH: detach,
            Action.SYNC: sync,
            Action.AUTH: self._renew,
            Action.CLOSE: self._close_for_good,
            Action.DISCONNECT: self._disconnect,
        }

    def connect(self, query: Mapping[str, str], queue: SocketQueue) -> Connection:
        """The connection of a new socket; Refusal for invalid credentials or too many connections."""
        state = self.state
        grant = state.authority.from_query(query, state.now_ms)
        leave_seconds = _leave_seconds(query, state.limits)
        key = query.get("resume") or query.get("recover")
        connection = state.connections.resumable(key, grant) if key else None
        error = _UNKNOWN if key and connection is None else None
        if connection is None:
            connection = self._new_connection(grant)
        else:
            self._leave_socket(connection)
            connection.renew_key()
        connection.form = format_of(query)
        connection.echo = query.get("echo") != "false"
        connection.leave_seconds = leave_seconds
        connection.queue, connection.lost_at = queue, None
        connection.admit(grant, state.now_ms)
        state.send(connection, connection.connected_frame(error))
        return connection

    def _new_connection(self, grant: Grant) -> Connection:
        if stale := self.state.connections.longest_lost(grant):
            self._forget(stale)
        connection = Connection(grant, self.state.limits)
        self.state.connections.add(connection)
        return connection

    def lost(self, connection: Connection, queue: SocketQueue) -> None:
        """A socket was lost. Its connection can be resumed for a while, unless it was closed or has another socket."""
        if connection.queue is queue:
            self._leave_socket(connection)
            connection.lost_at = self.state.monotonic()

    def receive(self, connection: Connection, raw: Encoded) -> None:
        """Handles one frame from a socket. Errors are reported to its sender."""
        try:
            if not connection.frames_in.allow(self.state.monotonic()):
                raise Refusal(f"more than {self.state.limits.frame_rate:g} frames per second", 42920, 429)
            frame = decode(raw, connection.form)
        except Malformed as malformed:
            self._refuse(connection, malformed.frame, malformed.info)
            return
        except Refusal as refusal:
            self._fail(connection, refusal.info)
            return
        if publisher := self._publishers.get(frame.action):
            self._handle_once(connection, frame, publisher, hash(raw))
        elif handler := self._handlers.get(frame.action):  # the protocol requires unknown actions to be ignored
            self._handle(connection, frame, handler)

    def _handle(self, connection: Connection, frame: Inbound, handler: Handler) -> None:
        try:
            handler(self.state, connection, frame)
        except Refusal as refusal:
            self._refuse(connection, frame, refusal.info)

    def _refuse(self, connection: Connection, frame: Inbound, error: ErrorInfo) -> None:
        """Reports an error to the operation that it belongs to; AUTH, and what names no channel, end the connection."""
        if frame.action == Action.HEARTBEAT:
            answer = Frame(action=Action.HEARTBEAT, error=error)
        elif frame.action in self._publishers and frame.msg_serial is not None:
            answer = Frame(action=Action.NACK, msg_serial=frame.msg_serial, count=1, error=error)
        elif frame.channel is not None:
            answer = Frame(action=Action.ERROR, channel=frame.channel, error=error)
        else:
            self._fail(connection, error)
            return
        self.state.send(connection, answer)

    def _handle_once(self, connection: Connection, frame: Inbound, publisher: Handler, fingerprint: int) -> None:
        """Carries out a publish, unless it is a repeat, and replies ACK or NACK."""
        serial = frame.msg_serial
        if serial is None:
            self._refuse(connection, frame, _NO_SERIAL)
            return
        if (serial, fingerprint) not in connection.outcomes:
            outcome = None
            try:
                publisher(self.state, connection, frame)
            except Refusal as refusal:
                outcome = refusal.info
            connection.record_outcome(serial, fingerprint, outcome)
        error = connection.outcomes[serial, fingerprint]
        action = Action.NACK if error else Action.ACK
        self.state.send(connection, Frame(action=action, msg_serial=serial, count=1, error=error))

    def _renew(self, state: State, connection: Connection, frame: Inbound) -> None:
        """AUTH: a new token for the same client; each channel gets the modes that it permits."""
        if frame.auth is None:
            raise Refusal("AUTH needs auth.accessToken", 40000)
        grant = state.authority.from_query({"accessToken": frame.auth.access_token}, state.now_ms)
        if grant.client_id != connection.grant.client_id:
            raise Refusal("the new token belongs to another client", 40102, 401)
        connection.admit(grant, state.now_ms)
        state.send(connection, connection.connected_frame())
        apply_grant(state, connection)

    def _close_for_good(self, state: State, connection: Connection, _: Inbound) -> None:
        state.send(connection, Frame(action=Action.CLOSED))
        self._close(connection, WS_OK)
        self._forget(connection)

    def _disconnect(self, _: State, connection: Connection, __: Inbound) -> None:
        self._close(connection, WS_OK)

    def _fail(self, connection: Connection, error: ErrorInfo) -> None:
        """Sends the error, and closes the socket."""
        self.state.send(connection, Frame(action=Action.ERROR, error=error))
        self._close(connection, WS_POLICY)

    def _close(self, connection: Connection, code: int) -> None:
        if queue := connection.queue:
            queue.close(code)
            self.lost(connection, queue)

    def _leave_socket(self, connection: Connection) -> None:
        """Closes the connection's socket, if it has one."""
        if connection.queue is not None:
            connection.queue.close(WS_GOING_AWAY)
        for name in list(connection.attached):
            self.state.detach(connection, name)
        connection.queue = None

    def _forget(self, connection: Connection) -> None:
        """Ends the connection for good."""
        self._leave_socket(connection)
        leave_all(self.state, connection)
        self.state.connections.remove(connection)

    def forget_all(self) -> None:
        """Ends every connection for good."""
        for connection in self.state.connections:
            self._forget(connection)

    def tick(self) -> None:
        """Applies timeouts; call it about every second."""
        now, limits = self.state.monotonic(), self.state.limits
        self.state.channels.expire(now)
        for connection in self.state.connections:
            if connection.lost_at is None:
                self._maintain(connection, now)
            elif now - connection.lost_at > limits.resume_seconds:
                self._forget(connection)
            elif now - connection.lost_at > connection.leave_seconds:
                leave_all(self.state, connection)

    def _maintain(self, connection: Connection, now: float) -> None:
        """Sends heartbeats, and has the token renewed."""
        if now - connection.sent_at > self.state.limits.idle_seconds / 2:
            self.state.send(connection, Frame(action=Action.HEARTBEAT))
        expires, renew = connection.grant.expires_ms, connection.renew_ms
        if expires is not None and expires <= self.state.now_ms:
            self.state.send(connection, Frame(action=Action.DISCONNECTED, error=_EXPIRED))
            self._close(connection, WS_OK)
        elif renew is not None and renew <= self.state.now_ms:
            connection.renew_ms = None
            self.state.send(connection, Frame(action=Action.AUTH))


def _leave_seconds(query: Mapping[str, str], limits: ServerLimits) -> float:
    """How long the client wants to be present after its socket broke (`remainPresentFor`); Refusal (40003)."""
    text, most = query.get("remainPresentFor"), round(limits.resume_seconds * 1000)
    if text is None:
        return limits.leave_seconds
    if not _MILLISECONDS.fullmatch(text) or int(text) > most:
        raise Refusal(f"remainPresentFor must be 0 to {most} ms", 40003)
    return int(text) / 1000


def _echo(state: State, connection: Connection, frame: Inbound) -> None:
    state.send(connection, Frame(action=Action.HEARTBEAT, id=frame.id))


def _not_offered(_: State, __: Connection, ___: Inbound) -> None:
    raise Refusal("this server offers neither annotations nor LiveObjects", 40000)
