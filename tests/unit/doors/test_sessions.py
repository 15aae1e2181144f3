"""Who gets a session of the page, for how long, and how often one may try."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.messaging.owner_proof import PROOF_SECONDS, make_proof, proof_check, signing_key
from query_service.doors.sessions import (
    SESSION_SECONDS,
    LogIn,
    PageSessions,
    Role,
    Throttle,
    is_password,
    password_hash,
)
from query_service.page.codes import CODE_SECONDS, make_code, proof_in

KEY = "the key of the node"
HASHES: dict[Role, str] = {"owner": password_hash("correct horse"), "viewer": password_hash("staple")}


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sessions(clock: Clock) -> PageSessions:
    return PageSessions(HASHES, KEY, clock, clock)


def test_each_password_gives_its_role(sessions: PageSessions) -> None:
    assert sessions.log_in("correct horse") == LogIn("owner")
    assert sessions.log_in("staple") == LogIn("viewer")
    assert sessions.log_in("") is None
    assert sessions.log_in("correct hors") is None
    assert PageSessions({}, KEY).log_in("") is None


@settings(max_examples=5, deadline=None)
@given(st.text(), st.text())
def test_a_hash_knows_its_password_and_no_other(password: str, other: str) -> None:
    stored = password_hash(password)
    assert password not in stored or len(password) < 3
    assert is_password(password, stored)
    assert is_password(other, stored) == (other == password)


@pytest.mark.parametrize("stored", ["", "scrypt", "scrypt:zz:00", "md5:00:00", "scrypt:00:", ":::", "scrypt:::"])
def test_no_password_fits_what_is_no_hash(stored: str) -> None:
    assert not is_password("", stored)


def test_a_session_lasts_until_it_expires_or_is_ended(sessions: PageSessions, clock: Clock) -> None:
    first, _ = sessions.start(LogIn("owner"))
    second, session = sessions.start(LogIn("viewer"))
    assert (sessions.role_of(first), sessions.role_of(second)) == ("owner", "viewer")
    sessions.end(first)
    assert (sessions.role_of(first), sessions.role_of(second)) == (None, "viewer")
    clock.now += SESSION_SECONDS
    assert session.expires == clock.now
    assert sessions.role_of(second) is None
    assert sessions.role_of("") is None


def test_a_clock_that_is_set_right_prolongs_no_session(clock: Clock) -> None:
    uptime = Clock()
    sessions = PageSessions(HASHES, KEY, clock, uptime)
    clock.now += 400 * 86_400  # ahead
    cookie, _ = sessions.start(LogIn("owner"))
    clock.now -= 400 * 86_400
    uptime.now += SESSION_SECONDS
    assert sessions.role_of(cookie) is None


def test_sessions_take_bounded_memory(sessions: PageSessions) -> None:
    cookies = [sessions.start(LogIn("viewer"))[0] for _ in range(1_000)]
    assert sum(sessions.role_of(cookie) is not None for cookie in cookies) == 200
    assert sessions.role_of(cookies[-1]) == "viewer"


def test_a_code_is_good_once_and_for_ten_minutes(sessions: PageSessions, clock: Clock) -> None:
    code, late = make_code(KEY, clock.now), make_code(KEY, clock.now)
    assert sessions.redeem(code)
    assert not sessions.redeem(code)
    clock.now += CODE_SECONDS
    assert not sessions.redeem(late)


def test_a_restart_does_not_make_a_used_code_good_again(clock: Clock) -> None:
    uptime = Clock()
    code = make_code(KEY, clock.now)
    assert PageSessions({}, KEY, clock, uptime).redeem(code)
    clock.now += 120
    uptime.now += 120
    restarted = PageSessions({}, KEY, clock, uptime)
    assert not restarted.redeem(code)
    just_before = make_code(KEY, clock.now - 30)  # `imhearing up` makes it before it starts the services
    assert restarted.redeem(just_before)


@pytest.mark.parametrize("ahead", [7_200, 400 * 86_400])
def test_what_was_made_while_the_clock_was_ahead_is_not_valid_for_longer(clock: Clock, ahead: float) -> None:
    sessions = PageSessions({}, KEY, clock, Clock())
    assert sessions.redeem(make_code(KEY, clock.now + 30))
    assert not sessions.redeem(make_code(KEY, clock.now + ahead))
    assert is_proof(make_proof(signing_key(OWNER_KEY), clock.now + 30), clock)
    assert not is_proof(make_proof(signing_key(OWNER_KEY), clock.now + ahead), clock)


@given(st.text(max_size=80) | st.just(make_code("another key", Clock.now)))
def test_no_other_text_is_a_code(text: str) -> None:
    clock = Clock()
    assert not PageSessions({}, KEY, clock).redeem(text)
    code = make_code(KEY, clock.now)
    assert not PageSessions({}, KEY, clock).redeem(text + code if text else code[:-1])
    assert not PageSessions({}, "", clock).redeem(make_code("", clock.now))


# the owner's proof


OWNER_KEY = "the key of the owner"


def is_proof(proof: str, clock: Clock) -> bool:
    return proof_check(OWNER_KEY, clock)(proof)


def test_a_code_hands_its_proof_over_to_the_cookie_alone(sessions: PageSessions, clock: Clock) -> None:
    proof = make_proof(signing_key(OWNER_KEY), clock.now)
    code = make_code(KEY, clock.now, proof)
    assert not sessions.redeem(f"{KEY}~{proof}")
    who = sessions.redeem(code)
    assert who == LogIn("owner", proof)
    for again in (code, code.partition("~")[0], f"{code}1"):
        assert sessions.redeem(again) is None
    cookie, _ = sessions.start(who)
    assert proof_in(cookie) == proof
    assert sessions.role_of(cookie) == "owner"
    assert sessions.role_of(cookie.partition("~")[0]) is None
    assert sessions.role_of(f"{cookie}1") is None
    assert proof not in repr(vars(sessions))
    assert is_proof(proof, clock)
    clock.now += PROOF_SECONDS
    assert not is_proof(proof, clock)


def test_a_password_opens_what_its_hash_keeps_closed(clock: Clock) -> None:
    stored = password_hash("correct horse", OWNER_KEY)
    sessions = PageSessions({"owner": stored, "viewer": HASHES["viewer"]}, KEY, clock)
    owner = sessions.log_in("correct horse")
    assert owner is not None
    assert is_proof(owner.proof, clock)
    assert sessions.log_in("correct hors") is None
    assert sessions.log_in("staple") == LogIn("viewer")
    # all that the query service has, without a password
    salt, expected, seal = stored.split(":")[1:]
    masked = bytes(one ^ other for one, other in zip(bytes.fromhex(seal), bytes.fromhex(expected), strict=True))
    for part in (salt, expected, seal, masked.hex()):
        assert not is_proof(make_proof(part, clock.now), clock)
        assert not is_proof(make_proof(signing_key(part), clock.now), clock)


def test_without_a_key_nothing_is_a_proof(clock: Clock) -> None:
    assert make_proof(signing_key(""), clock.now) == ""
    for text in ("", "0.0.0", make_proof(signing_key("another"), clock.now), make_code(OWNER_KEY, clock.now)):
        assert not is_proof(text, clock)
        assert not proof_check("", clock)(text)


def test_an_address_that_fails_waits_longer_each_time_and_no_other_does() -> None:
    throttle, waits = Throttle(), []
    for now in range(12):
        throttle.failed("192.0.2.1", now)
        waits.append(throttle.wait("192.0.2.1", now))
    assert waits[:2] == [0, 0]
    assert waits[2:5] == [1, 2, 4]
    assert throttle.wait("192.0.2.1", 11 + 10_000) == 0
    assert throttle.wait("192.0.2.2", 11) == 0
    throttle.succeeded("192.0.2.1")
    assert throttle.wait("192.0.2.1", 11) == 0


def test_failures_of_many_addresses_take_bounded_memory() -> None:
    throttle = Throttle()
    for number in range(5_000):
        for _ in range(3):
            throttle.failed(str(number), 0)
    assert sum(throttle.wait(str(number), 0) > 0 for number in range(5_000)) == 1_000
