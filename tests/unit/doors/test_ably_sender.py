"""The rate at which answers leave over Ably."""

from __future__ import annotations

import asyncio

from query_service.doors.ably_sender import PublishRateLimiter


def test_no_more_messages_than_the_rate_leave_in_any_second() -> None:
    passed: list[float] = []

    async def run() -> None:
        rate = PublishRateLimiter(20)

        async def one() -> None:
            await rate.wait()
            passed.append(asyncio.get_running_loop().time())

        await asyncio.gather(*(one() for _ in range(45)))

    asyncio.run(run())
    assert all(later - earlier > 0.95 for earlier, later in zip(passed, passed[20:], strict=False))
    assert passed[19] - passed[0] < 0.5
