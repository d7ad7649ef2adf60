"""How often a provider is read: the first text at once, then much at a time, and nothing lost by that."""

import asyncio

import aiohttp
import pytest

from message_service.errors import StreamCut
from message_service.providers.connections import StreamConnector
from message_service.providers.lm_studio import LmStudioProvider
from message_service.providers.provider import TextDelta
from tests.contract.providers.fault_server import (
    CHAT,
    DONE,
    FaultServer,
    Pause,
    Reset,
    Silence,
    Step,
    delta,
    stream_head,
)
from tests.contract.providers.reading import prompt, read

END: list[Step] = [delta(finish="stop"), DONE]


def _provider(session: aiohttp.ClientSession, server: FaultServer) -> LmStudioProvider:
    return LmStudioProvider(session, server.url, None, "fault", 20, 20)


async def test_first_text_comes_at_once_when_others_follow(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    fault_server.routes[CHAT] = [stream_head(), delta("a"), Silence()]
    stream = _provider(session, fault_server).stream(prompt())
    async with asyncio.timeout(5):
        assert [await anext(stream) for _ in range(2)][1] == TextDelta("a")
    await stream.aclose()


@pytest.mark.parametrize(("others", "most_pieces"), [(0, 60), (1000, 8)])
async def test_text_is_read_in_few_pieces_when_it_comes_fast(
    session: aiohttp.ClientSession, fault_server: FaultServer, others: int, most_pieces: int
) -> None:
    assert isinstance(session.connector, StreamConnector)
    session.connector.open_streams += others
    written: list[Step] = []
    for number in range(100):
        written += [delta(f"{number} "), Pause(0.005)]
    fault_server.routes[CHAT] = [stream_head(), *written, *END]
    reading = await read(_provider(session, fault_server).stream(prompt()))
    assert reading.text == "".join(f"{number} " for number in range(100))
    assert sum(event.tokens for event in reading.events if isinstance(event, TextDelta)) == 100
    assert reading.deltas[0].startswith("0 ")
    assert len(reading.deltas) <= most_pieces
    assert session.connector.open_streams == others


async def test_text_is_kept_when_the_connection_is_reset_before_it_was_read(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    fault_server.routes[CHAT] = [stream_head(), delta("Hel"), Pause(0.01), delta("lo"), Pause(0.01), Reset()]
    reading = await read(_provider(session, fault_server).stream(prompt()))
    assert reading.text == "Hello"
    assert type(reading.error) is StreamCut
