"""The rate limit: exact in any window, for each user, over all processes."""

import asyncio
from pathlib import Path

import pytest

from message_service.errors import RateLimited, RelayUnavailable
from message_service.ids import UserId
from message_service.limits.rate import WINDOW_SECONDS, Allowance, RateLimiter
from message_service.relay import Relay, open_relay
from tests.fixtures.redis_faults import full, nobodys_url, read_only, refusing_writes
from tests.fixtures.samples import USER

LIMIT = 100


@pytest.fixture
def limiter(relay: Relay) -> RateLimiter:
    return RateLimiter(relay, limit=LIMIT)


async def spend(limiter: RateLimiter, times: int, user_id: UserId = USER) -> list[bool]:
    """Which of so many messages were allowed."""
    answers = await asyncio.gather(*(limiter.spend(user_id) for _ in range(times)), return_exceptions=True)
    assert all(isinstance(answer, Allowance | RateLimited) for answer in answers), answers
    return [isinstance(answer, Allowance) for answer in answers]


async def the_key(relay: Relay) -> str:
    (key,) = await relay.quick.keys("message_service:rate:*")
    return str(key)


async def test_hundred_are_allowed_and_the_next_is_not(limiter: RateLimiter) -> None:
    allowances = [await limiter.spend(USER) for _ in range(LIMIT)]
    assert [allowance.remaining for allowance in allowances] == list(range(99, -1, -1))
    assert all(allowance.limit == LIMIT for allowance in allowances)
    for _ in range(3):
        with pytest.raises(RateLimited) as refused:
            await limiter.spend(USER)
        assert (refused.value.limit, refused.value.window_seconds) == (LIMIT, 60)
        assert refused.value.retry_after_seconds is not None
        assert 0 < refused.value.retry_after_seconds <= WINDOW_SECONDS


async def test_users_do_not_use_up_each_others_allowance(limiter: RateLimiter) -> None:
    users = [UserId(name) for name in ("ada", "bob", "}{", "{ada}", "a:b", "ADA")]
    answers = await asyncio.gather(*(spend(limiter, LIMIT + 1, user) for user in users))
    assert [allowed.count(True) for allowed in answers] == [LIMIT] * len(users)


async def test_refused_messages_are_not_counted(limiter: RateLimiter, relay: Relay) -> None:
    await spend(limiter, LIMIT + 50)
    assert await relay.quick.llen(await the_key(relay)) == LIMIT


async def test_window_slides_when_the_oldest_message_is_a_minute_old(limiter: RateLimiter, relay: Relay) -> None:
    assert await spend(limiter, LIMIT) == [True] * LIMIT
    key = await the_key(relay)
    seconds, microseconds = await relay.quick.time()
    now = int(seconds) * 1000 + int(microseconds) // 1000
    # As if three of them had been posted a minute ago, and a fourth nearly.
    for place, age in enumerate((60_900, 60_100, 60_000, 57_000)):
        await relay.quick.lset(key, place, str(now - age))
    assert (await spend(limiter, 10)).count(True) == 3
    with pytest.raises(RateLimited) as refused:
        await limiter.spend(USER)
    assert refused.value.retry_after_seconds is not None
    assert refused.value.retry_after_seconds <= 3


async def test_exactly_the_limit_is_allowed_when_two_processes_count_at_once(redis_url: str, relay: Relay) -> None:
    async with open_relay(redis_url) as other:
        limiters = [RateLimiter(relay, limit=LIMIT), RateLimiter(other, limit=LIMIT)]
        answers = await asyncio.gather(*(spend(limiter, 150) for limiter in limiters))
        assert sum(allowed.count(True) for allowed in answers) == LIMIT


async def test_nothing_is_kept_longer_than_the_window(limiter: RateLimiter, relay: Relay) -> None:
    await limiter.spend(USER)
    assert 0 < await relay.quick.pttl(await the_key(relay)) <= WINDOW_SECONDS * 1000


async def test_key_does_not_hold_the_users_id(limiter: RateLimiter, relay: Relay) -> None:
    await limiter.spend(UserId("somebody}here"))
    assert "somebody" not in await the_key(relay)


async def test_count_goes_on_when_redis_forgot_the_script(limiter: RateLimiter, relay: Relay) -> None:
    first = await limiter.spend(USER)
    await relay.quick.script_flush()
    second = await limiter.spend(USER)
    assert (first.remaining, second.remaining) == (99, 98)


async def test_nobody_counts_when_redis_is_gone(tmp_path: Path) -> None:
    async with open_relay(nobodys_url(tmp_path)) as relay:
        limiter = RateLimiter(relay, limit=LIMIT)
        for _ in range(2):
            with pytest.raises(RelayUnavailable):
                await limiter.spend(USER)


async def test_nobody_counts_when_redis_refuses_to_write(limiter: RateLimiter, relay: Relay) -> None:
    async with refusing_writes(relay):
        with pytest.raises(RelayUnavailable):
            await limiter.spend(USER)
    await asyncio.sleep(0)
    await relay.ping()
    assert (await limiter.spend(USER)).remaining == 99


async def test_nobody_counts_when_redis_is_full(limiter: RateLimiter, relay: Relay) -> None:
    await limiter.spend(USER)
    for is_script_known in (True, False):
        if not is_script_known:
            await relay.quick.script_flush()
        async with full(relay):
            with pytest.raises(RelayUnavailable):
                await limiter.spend(USER)
    assert (await limiter.spend(USER)).remaining == 98


async def test_nobody_counts_or_refunds_when_redis_became_a_replica(limiter: RateLimiter, relay: Relay) -> None:
    await limiter.spend(USER)
    async with read_only(relay):
        with pytest.raises(RelayUnavailable):
            await limiter.spend(USER)
        await limiter.refund(USER)
