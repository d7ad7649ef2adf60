"""One connection carries one reply after another, and none is held up or lost for that."""

import asyncio
from collections.abc import Sequence

import aiohttp
import pytest

from message_service.errors import ProviderConnectFailed, StreamCut
from message_service.providers import connections
from message_service.providers.lm_studio import LmStudioProvider
from message_service.providers.provider import Provider
from tests.contract.providers.adapters import ADAPTERS, Adapter
from tests.contract.providers.fault_server import (
    CHAT,
    WELL,
    FaultServer,
    Pause,
    Request,
    Reset,
    Silence,
    Step,
    delta,
    kept_stream,
)
from tests.contract.providers.reading import prompt, read
from tests.contract.providers.wire_events import WHOLE

REPLIES = 5
EVENTS: dict[str, Sequence[Step]] = {"chat": WELL[1:]} | WHOLE
EVERY_ADAPTER = pytest.mark.parametrize("adapter", ADAPTERS.values(), ids=ADAPTERS.keys())


@pytest.fixture
def keeping_server(fault_server: FaultServer) -> FaultServer:
    fault_server.keeps_connections = True
    return fault_server


async def _read_one_after_another(provider: Provider) -> list[str]:
    return [(await read(provider.stream(prompt()))).text for _ in range(REPLIES)]


@EVERY_ADAPTER
async def test_one_connection_carries_all_replies_when_the_server_keeps_it(
    session: aiohttp.ClientSession, keeping_server: FaultServer, adapter: Adapter
) -> None:
    keeping_server.routes[adapter.path] = _ending_at_once(EVENTS[adapter.dialect])
    assert await _read_one_after_another(adapter(session, keeping_server.url)) == ["Hello"] * REPLIES
    assert (len(keeping_server.requests), keeping_server.connections) == (REPLIES, 1)


async def test_connection_is_used_again_when_the_body_ends_a_little_after_the_end_marker(
    session: aiohttp.ClientSession, keeping_server: FaultServer
) -> None:
    keeping_server.routes[CHAT] = kept_stream(WELL[1:], last=[Pause(0.05)])
    provider = _lm_studio(session, keeping_server)
    for _ in range(REPLIES):
        assert (await read(provider.stream(prompt()))).text == "Hello"
        await asyncio.sleep(0.2)  # nobody waits for that end, so the next reply has to come later to find it
    assert keeping_server.connections < REPLIES


@pytest.mark.parametrize("endless", ["silent", "talking"])
async def test_body_that_never_ends_holds_nothing_up_and_is_cut_off(
    session: aiohttp.ClientSession, keeping_server: FaultServer, monkeypatch: pytest.MonkeyPatch, endless: str
) -> None:
    monkeypatch.setattr(connections, "END_OF_BODY_SECONDS", 5.0)
    much = b"%x\r\n%b\r\n" % (10_000_000, b" " * 10_000_000)
    keeping_server.routes[CHAT] = kept_stream(WELL[1:], last=[Silence()] if endless == "silent" else [much, Silence()])
    async with asyncio.timeout(4):
        assert await _read_one_after_another(_lm_studio(session, keeping_server)) == ["Hello"] * REPLIES
    assert keeping_server.connections == REPLIES
    if endless == "silent":
        async with asyncio.timeout(30):
            await keeping_server.caller_left.wait()


async def test_connection_is_closed_at_once_when_we_end_the_reply_and_the_server_does_not(
    session: aiohttp.ClientSession, keeping_server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "END_OF_BODY_SECONDS", 60.0)
    adapter = ADAPTERS["openai"]  # its API takes no stop sequences: they are kept by us
    start, *said, end = WHOLE["responses"]
    keeping_server.routes[adapter.path] = kept_stream([start, *said, Silence(), end])
    reading = await read(adapter(session, keeping_server.url).stream(prompt(stop=("llo",))))
    assert reading.text == "He"
    async with asyncio.timeout(10):
        await keeping_server.caller_left.wait()


async def test_reply_is_written_when_the_server_closes_the_connection_that_it_is_asked_for_on(
    session: aiohttp.ClientSession, keeping_server: FaultServer
) -> None:
    well = kept_stream(WELL[1:])

    def play(_: Request) -> Sequence[Step]:
        return [Reset()] if len(keeping_server.requests) % 2 == 0 else well

    keeping_server.routes[CHAT] = play
    assert await _read_one_after_another(_lm_studio(session, keeping_server)) == ["Hello"] * REPLIES
    assert len(keeping_server.requests) == 2 * REPLIES - 1, "each on a used connection was asked again, once"


async def test_prompt_is_sent_again_once_when_every_kept_connection_is_closed_without_an_answer(
    session: aiohttp.ClientSession, keeping_server: FaultServer
) -> None:
    provider = await _with_kept_connections(4, session, keeping_server)
    keeping_server.routes[CHAT] = [Reset()]
    assert type((await read(provider.stream(prompt()))).error) is StreamCut
    assert len(keeping_server.requests) == 4 + 2


async def test_prompt_is_not_sent_again_when_the_server_took_its_time_before_it_closed(
    session: aiohttp.ClientSession, keeping_server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "CLOSED_WHILE_IDLE_SECONDS", 0.1)
    provider = await _with_kept_connections(2, session, keeping_server)
    keeping_server.routes[CHAT] = [Pause(0.2), Reset()]
    assert type((await read(provider.stream(prompt()))).error) is StreamCut
    assert len(keeping_server.requests) == 2 + 1


async def test_connecting_is_given_up_in_time_when_the_address_cannot_be_found_out(
    session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = asyncio.Event()

    async def hang(*_: object, **__: object) -> None:
        asked.set()
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(aiohttp.DefaultResolver, "resolve", hang)
    async with asyncio.timeout(10):
        reading = await read(LmStudioProvider(session, "http://lm-studio.invalid", None, "m", 60, 10).stream(prompt()))
    assert asked.is_set()
    assert type(reading.error) is ProviderConnectFailed
    assert "within 2 s" in reading.error.detail


async def test_prompt_is_not_sent_again_when_its_own_connection_was_closed_without_an_answer(
    session: aiohttp.ClientSession, keeping_server: FaultServer
) -> None:
    keeping_server.routes[CHAT] = [Reset()]
    reading = await read(_lm_studio(session, keeping_server).stream(prompt()))
    assert type(reading.error) is StreamCut
    assert len(keeping_server.requests) == 1


async def test_connection_is_not_used_again_when_the_stream_broke_off_in_it(
    session: aiohttp.ClientSession, keeping_server: FaultServer
) -> None:
    keeping_server.routes[CHAT] = kept_stream([delta("Hel"), b"data: {nonsense\n\n", delta("lo")], last=[Silence()])
    assert type((await read(_lm_studio(session, keeping_server).stream(prompt()))).error) is StreamCut
    keeping_server.routes[CHAT] = kept_stream(WELL[1:])
    assert (await read(_lm_studio(session, keeping_server).stream(prompt()))).text == "Hello"
    assert keeping_server.connections == 2


async def _with_kept_connections(number: int, session: aiohttp.ClientSession, server: FaultServer) -> Provider:
    """Used by as many replies at the same time, and idle now."""
    server.routes[CHAT] = _ending_at_once(WELL[1:])
    provider = _lm_studio(session, server)
    await asyncio.gather(*(read(provider.stream(prompt())) for _ in range(number)))
    assert server.connections == number
    return provider


def _ending_at_once(events: Sequence[Step]) -> list[Step]:
    """With the end marker and the end of the body in one piece, as servers mostly send them."""
    *kept, marker, end_of_body = kept_stream(events)
    assert isinstance(marker, bytes)
    assert isinstance(end_of_body, bytes)
    return [*kept, marker + end_of_body]


def _lm_studio(session: aiohttp.ClientSession, server: FaultServer) -> LmStudioProvider:
    return LmStudioProvider(session, server.url, None, "fault", 10, 10)
