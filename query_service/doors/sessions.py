"""Who may do what on the page: passwords, one-time codes, and the sessions that they start.

A *viewer* sees numbers (levels, coverage, sounds), and gets no audio and no links; the *owner* does. Nothing here is
stored: a restart of the query service ends all sessions. What the owner orders needs a proof as well, which recorder
and archiver check. It is in the cookie, so that only the owner's browser keeps it: this service could not make one.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

from edge.messaging.owner_proof import make_proof, signing_key
from query_service.page.codes import CODE_SECONDS, code_expiry, proof_in, with_proof, without_proof

Role = Literal["viewer", "owner"]

SESSION_SECONDS = 7 * 86_400.0
_MOST_SESSIONS = 200
_LEEWAY = 60.0  # of a code's age: `imhearing up` makes one before it starts this process; the clock may be corrected
_SCRYPT = {"n": 2**14, "r": 8, "p": 1}  # 16 MB and 50 ms on a PC; OWASP's second choice of parameters


def password_hash(password: str, owner_key: str = "") -> str:
    """What may be stored of a password: `scrypt:<salt>:<hash>`, in hexadecimal digits.

    With `owner_key`, `:<seal>` follows: the password opens the key that signs the owner's proofs, the hash does not.
    """
    salt = secrets.token_bytes(16)
    expected, mask = _scrypt(password, salt)
    seal = f":{_masked(bytes.fromhex(signing_key(owner_key)), mask).hex()}" if owner_key else ""
    return f"scrypt:{salt.hex()}:{expected.hex()}{seal}"


def is_password(password: str, stored: str) -> bool:
    """Takes 16 MB and a part of a second; False as well where `stored` is no such hash."""
    return _opened(password, stored) is not None


def is_password_hash(stored: str) -> bool:
    return re.fullmatch(r"scrypt:[0-9a-f]{32}:[0-9a-f]{64}(:[0-9a-f]{64})?", stored) is not None


def _opened(password: str, stored: str) -> str | None:
    """What signs the owner's proofs, empty if there is no such seal; None with another password."""
    if not is_password_hash(stored):
        return None
    _, salt, expected, *seal = stored.split(":")
    found, mask = _scrypt(password, bytes.fromhex(salt))
    if not hmac.compare_digest(found.hex(), expected):
        return None
    return _masked(bytes.fromhex(seal[0]), mask).hex() if seal else ""


def _masked(text: bytes, mask: bytes) -> bytes:
    return bytes(one ^ other for one, other in zip(text, mask, strict=True))


def _scrypt(password: str, salt: bytes) -> tuple[bytes, bytes]:
    """32 bytes to compare, and 32 that cannot be computed from those."""
    made = hashlib.scrypt(password.encode("utf-8", "surrogateescape"), salt=salt, dklen=64, **_SCRYPT)
    return made[:32], made[32:]


class LogIn(NamedTuple):
    """Who has logged in. `proof`: of the owner, empty where the log-in gives none."""

    role: Role
    proof: str = ""


class PageSession(NamedTuple):
    role: Role
    expires: float  # monotonic


class Throttle:
    """How often an address may try. Doubles the wait with each failure, and forgets after an hour without one."""

    _FREE, _LONGEST, _FORGOTTEN, _MOST = 3, 900.0, 3_600.0, 1_000

    def __init__(self) -> None:
        self._failures: dict[str, tuple[int, float]] = {}  # address -> how many in a row, time of the last

    def wait(self, address: str, now: float) -> float:
        """Seconds until that address may try again."""
        count, last = self._failures.get(address, (0, 0.0))
        if count < self._FREE:
            return 0.0
        return max(0.0, last + min(self._LONGEST, 2.0 ** (count - self._FREE)) - now)

    def failed(self, address: str, now: float) -> None:
        count, last = self._failures.pop(address, (0, 0.0))
        self._failures[address] = (count + 1 if now - last < self._FORGOTTEN else 1, now)
        if len(self._failures) > self._MOST:
            self._failures.pop(next(iter(self._failures)))

    def succeeded(self, address: str) -> None:
        self._failures.pop(address, None)


class PageSessions:
    """The open sessions of one node, by the SHA-256 of their cookie: a copy of this memory opens none."""

    def __init__(
        self,
        passwords: Mapping[Role, str],
        key: str,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`passwords`: hashes; a role without one has no log-in. `key`: signs the one-time codes."""
        self._passwords = passwords
        self._key = key
        self._clock = clock
        self._monotonic = monotonic
        self._begun = monotonic()
        self._open: dict[bytes, PageSession] = {}
        self._used: dict[str, float] = {}  # codes, and when they expire
        self.throttle = Throttle()

    @property
    def has_passwords(self) -> bool:
        return any(self._passwords.values())

    def role_of(self, cookie: str) -> Role | None:
        session = self._open.get(_digest(cookie))
        return session.role if session is not None and session.expires > self._monotonic() else None

    def log_in(self, password: str) -> LogIn | None:
        """Whose password that is. Slow: call it in a thread, one at a time."""
        for role, stored in self._passwords.items():
            if stored and (signing := _opened(password, stored)) is not None:
                return LogIn(role, make_proof(signing, self._clock()))
        return None

    def redeem(self, code: str) -> LogIn | None:
        """The owner, if the code is good for a session; it is for one only.

        Which were used before this process began, nobody knows: of those made before, only the last minute's are good.
        """
        now, genuine = self._clock(), without_proof(code)
        expires = code_expiry(self._key, code)
        age = now - (expires - CODE_SECONDS)
        oldest = self._monotonic() - self._begun + _LEEWAY
        if not -_LEEWAY < age < min(CODE_SECONDS, oldest) or genuine in self._used:
            return None
        self._used = {used: until for used, until in self._used.items() if until > now} | {genuine: expires}
        return LogIn("owner", proof_in(code))

    def start(self, who: LogIn) -> tuple[str, PageSession]:
        """A new session, and the value of its cookie, which holds the proof."""
        now = self._monotonic()
        self._open = {name: each for name, each in self._open.items() if each.expires > now}
        while len(self._open) >= _MOST_SESSIONS:
            self._open.pop(next(iter(self._open)))
        cookie = with_proof(secrets.token_urlsafe(32), who.proof)
        session = self._open[_digest(cookie)] = PageSession(who.role, now + SESSION_SECONDS)
        return cookie, session

    def end(self, cookie: str) -> None:
        self._open.pop(_digest(cookie), None)


def _digest(cookie: str) -> bytes:
    return hashlib.sha256(cookie.encode("utf-8", "surrogateescape")).digest()
