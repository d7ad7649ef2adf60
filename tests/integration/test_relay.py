"""The connection to Redis: short patience, and everything rests for a second after a failure."""

import asyncio
from pathlib import Path
from uuid import uuid4

import pytest
import uvloop

from message_service.errors import InvalidSettings, RelayUnavailable
from message_service.relay import Relay, open_relay
from tests.fixtures.redis_faults import hung_redis, nobodys_url
from tests.fixtures.waiting import eventually


async def failing_get(relay: Relay) -> float:
    """How long it took to learn that Redis cannot be reached, in seconds."""
    loop = asyncio.get_running_loop()
    began_at = loop.time()
    with pytest.raises(RelayUnavailable), relay.reaching():
        await relay.quick.get("any")
    return loop.time() - began_at


async def rested(relay: Relay) -> None:
    async def is_over() -> bool:
        return not relay.is_resting

    await eventually(is_over, seconds=5, what="the rest is over")


async def test_nothing_rests_when_redis_answers(relay: Relay) -> None:
    await relay.ping()
    with relay.reaching():
        await relay.quick.set("message_service:test", "1", ex=5)
    assert not relay.is_resting


async def test_failure_is_told_quickly_when_nobody_listens(tmp_path: Path) -> None:
    async with open_relay(nobodys_url(tmp_path)) as relay:
        assert await failing_get(relay) < 0.9
        assert relay.is_resting


async def test_nobody_rests_when_only_our_connections_are_all_in_use(relay: Relay) -> None:
    pool = relay.quick.connection_pool
    lent = [
        await pool.get_connection()  # type: ignore[no-untyped-call]  # the driver's
        for _ in range(pool.max_connections)
    ]
    try:
        assert await failing_get(relay) < 2
        assert not relay.is_resting
    finally:
        for connection in lent:
            await pool.release(connection)
    with relay.reaching():
        await relay.quick.get("any")


async def test_one_waits_and_the_others_are_told_at_once_when_redis_hangs(tmp_path: Path) -> None:
    async with hung_redis(tmp_path) as url, open_relay(url) as relay:
        assert await failing_get(relay) < 2.5
        assert relay.is_resting
        for _ in range(20):
            assert await failing_get(relay) < 0.1


async def test_one_finds_out_and_the_others_are_told_at_once_when_the_rest_is_over(tmp_path: Path) -> None:
    async with hung_redis(tmp_path) as url, open_relay(url) as relay:
        await failing_get(relay)
        await rested(relay)
        waits = await asyncio.gather(*(failing_get(relay) for _ in range(20)))
        assert sum(seconds > 0.5 for seconds in waits) == 1


async def test_everybody_goes_on_when_one_has_found_redis_well_again(relay: Relay) -> None:
    with pytest.raises(RelayUnavailable), relay.reaching():
        raise ConnectionResetError
    await rested(relay)
    with relay.reaching():
        assert relay.is_resting
        await relay.quick.ping()
    assert not relay.is_resting
    with relay.reaching():
        assert not relay.is_resting


async def test_nobody_waits_for_a_blocking_read_when_redis_is_well_again(relay: Relay) -> None:
    with pytest.raises(RelayUnavailable), relay.reaching():
        raise ConnectionResetError
    await rested(relay)
    with relay.reaching(is_blocking=True):
        with relay.reaching():
            await relay.quick.ping()
        assert not relay.is_resting


async def test_nothing_rests_when_a_blocking_read_fails_that_began_before_others_were_answered(relay: Relay) -> None:
    async def lost_read() -> None:
        with relay.reaching(is_blocking=True):
            with relay.reaching():
                await relay.quick.ping()
            raise ConnectionResetError

    with pytest.raises(RelayUnavailable):
        await lost_read()
    assert not relay.is_resting


async def test_others_rest_on_when_the_probe_fails(tmp_path: Path) -> None:
    async with hung_redis(tmp_path) as url, open_relay(url) as relay:
        await failing_get(relay)
        probe = asyncio.create_task(relay.ping())
        await asyncio.sleep(0)
        assert await failing_get(relay) < 0.1
        with pytest.raises(RelayUnavailable):
            await probe
        assert await failing_get(relay) < 0.1


async def test_error_says_when_to_come_back(tmp_path: Path) -> None:
    async with open_relay(nobodys_url(tmp_path)) as relay:
        with pytest.raises(RelayUnavailable) as refused:
            await relay.ping()
        assert refused.value.retry_after_seconds == 1


async def test_ping_asks_redis_itself_when_everything_rests(relay: Relay) -> None:
    with pytest.raises(RelayUnavailable), relay.reaching():
        raise ConnectionResetError
    assert relay.is_resting
    await relay.ping()
    assert not relay.is_resting


async def test_start_is_refused_when_the_url_is_none() -> None:
    with pytest.raises(InvalidSettings, match="MESSAGE_SERVICE_REDIS_URL"):
        Relay("http://localhost:6379")


def test_failure_is_told_when_uvloop_has_closed_the_connection_that_is_written_to() -> None:
    async def write_after_a_reset() -> None:
        server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with open_relay(f"redis://127.0.0.1:{port}/0") as relay:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.transport.abort()
            await writer.wait_closed()
            # What redis-py does on a connection that was lost since it was last used.
            with pytest.raises(RelayUnavailable), relay.reaching():
                writer.writelines([b"PING\r\n"])
            assert relay.is_resting
        server.close()
        await server.wait_closed()

    uvloop.run(write_after_a_reset())


async def test_every_connection_is_closed_when_closing_is_interrupted(redis_url: str, relay: Relay) -> None:
    name = f"interrupted-{uuid4().hex}"
    is_open = asyncio.Event()

    async def use_until_cancelled() -> None:
        async with open_relay(f"{redis_url}&client_name={name}") as own:
            await asyncio.gather(own.quick.ping(), own.patient.ping())
            is_open.set()
            await asyncio.Event().wait()

    async def open_connections() -> int:
        return [client["name"] for client in await relay.quick.client_list()].count(name)

    async with asyncio.timeout(10):
        user = asyncio.create_task(use_until_cancelled())
        await is_open.wait()
        assert await open_connections() == 2
        user.cancel()
        await asyncio.sleep(0)
        user.cancel()
        await asyncio.wait([user])
        while await open_connections():  # noqa: ASYNC110 - Redis tells nobody when a client has left
            await asyncio.sleep(0.01)


def test_errors_of_our_own_are_not_taken_for_a_lost_redis() -> None:
    relay = Relay("redis://127.0.0.1:1/0")
    with pytest.raises(RuntimeError, match="ours"), relay.reaching():
        raise RuntimeError("ours")
    assert not relay.is_resting
