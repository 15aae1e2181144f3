"""Requests that arrive twice: what the cache remembers, and for how long."""

from __future__ import annotations

from edge.messaging.request_pipeline import ReplayCache


def test_a_request_is_new_then_in_progress_then_answered() -> None:
    cache = ReplayCache()
    assert cache.begin(("a", "1"), b"body") == "new"
    assert cache.begin(("a", "1"), b"body") == "in_work"
    cache.finish(("a", "1"), b"answer")
    assert cache.begin(("a", "1"), b"body") == b"answer"
    assert cache.begin(("a", "1"), b"other") == "other_body"
    assert cache.begin(("b", "1"), b"other") == "new"


def test_a_forgotten_request_is_new_again() -> None:
    cache = ReplayCache()
    cache.begin(("a", "1"), b"body")
    cache.forget(("a", "1"))
    cache.finish(("a", "1"), b"too late")
    assert cache.begin(("a", "1"), b"body") == "new"


def test_the_replay_cache_is_bounded_in_entries_and_bytes() -> None:
    cache = ReplayCache(entries=10, answer_bytes=1_000)
    for number in range(100):
        key = ("a", str(number))
        cache.begin(key, b"body")
        cache.finish(key, b"x" * 300)
    assert [cache.begin(("a", str(number)), b"body") == b"x" * 300 for number in (99, 98, 97, 96)] == [
        True,
        True,
        True,
        False,
    ]
    few = ReplayCache(entries=10)
    for number in range(100):
        few.begin(("a", str(number)), b"body")
    assert len(few) == 10


def test_cached_answers_expire() -> None:
    now = [0.0]
    cache = ReplayCache(seconds=60, clock=lambda: now[0])
    for number in range(3):
        now[0] = 30.0 * number
        cache.begin(("a", str(number)), b"body")
        cache.finish(("a", str(number)), b"answer")
    now[0] = 61.0
    assert [cache.begin(("a", str(number)), b"body") for number in range(3)] == ["new", b"answer", b"answer"]
    now[0] = 200.0
    cache.begin(("b", "1"), b"body")
    assert len(cache) == 1
