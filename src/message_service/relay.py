"""Redis, which wakes people up and loses nothing that matters: connections with short patience."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from time import monotonic
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError, ResponseError

from message_service.errors import InvalidSettings, RelayUnavailable

PREFIX = "message_service"
"""Every key starts with it."""

BLOCK_SECONDS = 1.0
"""How long a blocking read waits before it looks up; well under the blocking client's time-out."""

_CONNECT_SECONDS = 0.5
_ANSWER_SECONDS = 1.0
_REST_AFTER_FAILURE_SECONDS = 1.0
_PING_KEPT_SECONDS = 60
_WRITTEN_TO_A_CLOSED_CONNECTION = "the handler is closed"
_ALL_ARE_IN_USE = "No connection available."


class _Failure(Exception):
    """Redis did not answer; the cause says how."""


class Relay:
    """Two clients: `quick` for commands that answer at once, `patient` for blocking reads.

    After a failure everything fails at once for a second, and then until one attempt has found Redis well again: a
    hung Redis costs one caller a time-out now and then, and nobody else.
    """

    def __init__(self, url: str) -> None:
        try:
            self.quick = _client(url, answer_seconds=_ANSWER_SECONDS, connections=32)
            self.patient = _client(url, answer_seconds=BLOCK_SECONDS + 2, connections=64)
        except ValueError as fault:
            raise InvalidSettings(f"MESSAGE_SERVICE_REDIS_URL is not a Redis URL: {fault}") from fault
        self._resting_until = 0.0
        self._has_failed = False
        self._answered_at = 0.0

    @property
    def is_resting(self) -> bool:
        """Whether Redis failed within the last second, or somebody is finding out whether it still does."""
        return monotonic() < self._resting_until

    @contextmanager
    def reaching(self, *, is_blocking: bool = False) -> Iterator[None]:
        """Turns the driver's errors into `RelayUnavailable`; only `NoScriptError` passes, which is an answer.

        `is_blocking`: it may wait long for its answer though Redis is well, so that nobody waits for what it finds out.

        A refused command (full, read-only, without its replicas) is no reason to leave Redis alone for a while: it
        answers at once, and reading may still work.
        """
        if self.is_resting:
            raise RelayUnavailable(retry_after_seconds=_REST_AFTER_FAILURE_SECONDS)
        if self._has_failed and not is_blocking:
            # This one finds out, and the others rest while it does: were all to try, all would wait for the time-out.
            self._resting_until = monotonic() + _ANSWER_SECONDS
        began = monotonic()
        try:
            with self._telling():
                yield
        except _Failure as fault:
            # A read that began while Redis hung may end after others were answered: it says nothing of now.
            if not (is_blocking and self._answered_at > began):
                self._rest()
            raise RelayUnavailable(retry_after_seconds=_REST_AFTER_FAILURE_SECONDS) from fault.__cause__

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Remembers what was answered. Raises `_Failure` where nothing was; interrupted, it tells nothing."""
        try:
            yield
            self._answered()
        except NoScriptError:
            self._answered()
            raise
        except ResponseError as fault:
            self._answered()
            raise RelayUnavailable(str(fault), retry_after_seconds=_REST_AFTER_FAILURE_SECONDS) from fault
        except (RedisError, OSError) as fault:
            if str(fault) == _ALL_ARE_IN_USE:
                # We asked too much of it at once, which says nothing of Redis.
                raise RelayUnavailable(str(fault), retry_after_seconds=_REST_AFTER_FAILURE_SECONDS) from fault
            raise _Failure from fault
        except RuntimeError as fault:
            # uvloop's word for writing to a connection that was reset; redis-py expects an OSError there.
            if _WRITTEN_TO_A_CLOSED_CONNECTION not in str(fault):
                raise
            raise _Failure from fault

    def _answered(self) -> None:
        self._answered_at = monotonic()
        if self._has_failed:
            self._has_failed = False
            self._resting_until = 0.0

    def _rest(self) -> None:
        self._has_failed = True
        self._resting_until = monotonic() + _REST_AFTER_FAILURE_SECONDS

    async def ping(self) -> None:
        """Raises `RelayUnavailable` unless Redis takes a write now; a full or read-only one only reads."""
        # Not held up by others' failures, and opening the door for nobody before the answer is there.
        try:
            with self._telling():
                await self.quick.set(f"{PREFIX}:ping", "", ex=_PING_KEPT_SECONDS)
        except _Failure as fault:
            self._rest()
            raise RelayUnavailable(retry_after_seconds=_REST_AFTER_FAILURE_SECONDS) from fault.__cause__


@asynccontextmanager
async def open_relay(url: str) -> AsyncIterator[Relay]:
    """A relay that need not be reachable yet."""
    relay = Relay(url)
    try:
        yield relay
    finally:
        for client in (relay.quick, relay.patient):
            if isinstance(client.connection_pool, _Pool):
                await client.connection_pool.close()


class _Pool(BlockingConnectionPool):
    """Knows what it made: redis-py forgets a connection whose return is interrupted, and leaves it open."""

    def __init__(self, **settings: Any) -> None:
        self._made: list[AbstractConnection] = []
        super().__init__(**settings)

    def make_connection(self) -> AbstractConnection:
        lent_or_kept = (*self._in_use_connections, *self._available_connections)
        self._made = [one for one in self._made if one.is_connected or one in lent_or_kept]
        connection: AbstractConnection = super().make_connection()  # type: ignore[no-untyped-call]  # the driver's
        self._made.append(connection)
        return connection

    async def close(self) -> None:
        """Close all there are, at once: where nothing is waited for, nobody who is in a hurry leaves some open."""
        for connection in self._made:
            await connection.disconnect(nowait=True)


def _client(url: str, *, answer_seconds: float, connections: int) -> Redis:
    # The driver's own retries would turn one time-out into ten, and repeat scripts that count.
    pool = _Pool.from_url(
        url,
        max_connections=connections,
        timeout=_ANSWER_SECONDS,
        socket_timeout=answer_seconds,
        socket_connect_timeout=_CONNECT_SECONDS,
        retry=Retry(NoBackoff(), 0),
        decode_responses=True,
    )
    return Redis(connection_pool=pool)
