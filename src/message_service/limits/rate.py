"""Messages a user may post in any window of time: exact, and one Redis round trip.

Redis keys: `message_service:rate:{<digest of user id>}`, a list of the times of the last messages,
which lives as long as the window.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b, sha1

from redis.exceptions import NoScriptError

from message_service.coalesce import Coalescer
from message_service.errors import RateLimited, RelayUnavailable
from message_service.ids import UserId
from message_service.relay import PREFIX, Relay

WINDOW_SECONDS = 60

# A log of at most `limit` times slides with the window, so no window anywhere holds more than `limit`;
# a bucket that refills (GCRA) would let nearly twice as many into one minute.
_SLIDING_LOG = """
local limit, window = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local oldest = redis.call('LINDEX', KEYS[1], 0)
while oldest and tonumber(oldest) <= now - window do
  redis.call('LPOP', KEYS[1])
  oldest = redis.call('LINDEX', KEYS[1], 0)
end
local used = redis.call('LLEN', KEYS[1])
local reset = (oldest and tonumber(oldest) or now) + window - now
if used >= limit then return {0, 0, reset} end
redis.call('RPUSH', KEYS[1], now)
redis.call('PEXPIRE', KEYS[1], window)
return {1, limit - used - 1, reset}
"""
_SLIDING_LOG_SHA = sha1(_SLIDING_LOG.encode(), usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True)
class Allowance:
    """What is left of a user's limit. `reset_seconds` until the oldest message leaves the window."""

    limit: int
    remaining: int
    reset_seconds: float


class RateLimiter:
    def __init__(self, relay: Relay, *, limit: int) -> None:
        self._relay = relay
        self._limit = limit
        self._checks: Coalescer[UserId, tuple[bool, Allowance]] = Coalescer(
            self._check_all, max_items=128, max_in_flight=2
        )

    @property
    def limit(self) -> int:
        return self._limit

    async def spend(self, user_id: UserId) -> Allowance:
        """Count one message. Raises `RateLimited`, and `RelayUnavailable` when nobody can count."""
        is_allowed, allowance = await self._checks.call(user_id)
        if not is_allowed:
            raise RateLimited(
                limit=self._limit, window_seconds=WINDOW_SECONDS, retry_after_seconds=allowance.reset_seconds
            )
        return allowance

    async def refund(self, user_id: UserId) -> None:
        """Take the last message back: it turned out to be a repetition. Best effort."""
        try:
            with self._relay.reaching():
                await self._relay.quick.rpop(_key(user_id))
        except RelayUnavailable:
            return

    async def _check_all(self, users: Sequence[UserId]) -> Sequence[tuple[bool, Allowance]]:
        answers = await self._run(users)
        return [
            (bool(allowed), Allowance(self._limit, remaining, reset_milliseconds / 1000))
            for allowed, remaining, reset_milliseconds in answers
        ]

    async def _run(self, users: Sequence[UserId]) -> list[tuple[int, int, int]]:
        try:
            return await self._run_known(users)
        except NoScriptError:
            with self._relay.reaching():
                await self._relay.quick.script_load(_SLIDING_LOG)
            return await self._run_known(users)

    async def _run_known(self, users: Sequence[UserId]) -> list[tuple[int, int, int]]:
        with self._relay.reaching():
            pipeline = self._relay.quick.pipeline(transaction=False)
            for user in users:
                pipeline.evalsha(_SLIDING_LOG_SHA, 1, _key(user), str(self._limit), str(WINDOW_SECONDS * 1000))
            return await pipeline.execute()


def _key(user_id: UserId) -> str:
    # Digested, so that no user id can break out of the hash tag.
    return f"{PREFIX}:rate:{{{blake2b(user_id.encode(), digest_size=16).hexdigest()}}}"
