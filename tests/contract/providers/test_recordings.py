"""What llama.cpp really sends in three dialects, played again, against the plainest reading of it."""

import asyncio

import aiohttp
import pytest

from message_service.errors import ProviderConnectFailed, StreamCut
from message_service.messages.reply import FinishReason, Usage
from message_service.providers.provider import Finished, Started, TextDelta, UsageReported
from message_service.providers.sse import SseParser
from tests.contract.providers.adapters import ADAPTERS, READERS, Adapter
from tests.contract.providers.fault_server import FaultServer
from tests.contract.providers.reading import Reading, assert_in_contract, prompt, read
from tests.contract.providers.recordings import (
    STREAMS,
    counts_of,
    dialect_of,
    end_marker_ends,
    recording,
    stream_body,
    text_of,
)


def _reason(name: str) -> FinishReason:
    """llama.cpp calls every response completed, and only "stopped" ends before its limit."""
    is_stopped = name.endswith("_stopped") or dialect_of(name) == "responses"
    return FinishReason.STOP if is_stopped else FinishReason.LENGTH


PLAYED = [(adapter, name) for adapter in ADAPTERS.values() for name in STREAMS if dialect_of(name) == adapter.dialect]


@pytest.mark.parametrize(("adapter", "name"), PLAYED, ids=[f"{a.open.__name__}-{name}" for a, name in PLAYED])
async def test_reply_is_what_was_recorded_when_it_is_played_again(
    session: aiohttp.ClientSession, fault_server: FaultServer, adapter: Adapter, name: str
) -> None:
    fault_server.routes[adapter.path] = [recording(name)]
    provider = adapter(session, fault_server.url)
    reading = await read(provider.stream(prompt()))
    assert_in_contract(reading)
    assert reading.events[0] == Started(provider.name, "tiny")
    assert reading.text == text_of(name)
    assert reading.finished == Finished(_reason(name))
    read_tokens, written, cached = counts_of(name)
    assert reading.events[-2] == UsageReported(Usage(read_tokens, written, cached_input_tokens=cached))


def test_recordings_hold_what_they_are_for_when_they_are_made_again() -> None:
    for dialect in READERS:
        assert any(ord(character) > 0xFFFF for character in text_of(f"{dialect}_multibyte"))
        assert any(0x7F < ord(character) <= 0xFFFF for character in text_of(f"{dialect}_multibyte"))
        body = stream_body(f"{dialect}_multibyte")
        assert any(b"\\u" not in line and not line.isascii() for line in body.splitlines())
        assert any(counts_of(name)[2] for name in STREAMS if dialect_of(name) == dialect), "something was cached"


@pytest.mark.parametrize("name", STREAMS)
def test_reply_never_ends_well_when_its_body_is_cut_before_the_end_marker(name: str) -> None:
    """At every byte of the body, as if the connection had ended there without any fault."""
    body = stream_body(name)
    event_end = end_marker_ends(name, body)
    parser, reader, text = SseParser(), READERS[dialect_of(name)]("p", "tiny"), ""
    for position in range(len(body)):
        is_whole = position >= event_end
        assert reader.is_finished is is_whole, position
        if not is_whole and position % 97 == 0:
            with pytest.raises(StreamCut):
                list(reader.end(prompt_tokens=20, context_tokens=None))
        for event in parser.feed(body[position : position + 1]):
            text += "".join(taken.text for taken in reader.take(event) if isinstance(taken, TextDelta))
    assert text == text_of(name)
    assert list(reader.end(prompt_tokens=20, context_tokens=None))[-1] == Finished(_reason(name))


@pytest.mark.parametrize("adapter", [ADAPTERS[name] for name in ("lm_studio", "openai", "anthropic")])
async def test_reply_never_ends_well_when_the_connection_is_cut_before_the_end_marker(
    session: aiohttp.ClientSession, fault_server: FaultServer, adapter: Adapter
) -> None:
    """At every third byte of a recorded stream and all around its end marker, the HTTP framing included."""
    name = f"{adapter.dialect}_short"
    whole, whole_text = recording(name), text_of(name)
    event_end = end_marker_ends(name, whole)
    positions = sorted({*range(0, len(whole), 3), *range(event_end - 30, min(event_end + 10, len(whole))), len(whole)})
    at_once = asyncio.Semaphore(32)
    fault_server.routes[adapter.path] = lambda request: [whole[: _position(request.headers)]]
    provider = adapter(session, fault_server.url)

    async def cut(position: int) -> Reading:
        async with at_once:
            return await read(provider.stream(prompt(attempt_id=str(position))))

    readings = await asyncio.gather(*(cut(position) for position in positions))
    for position, reading in zip(positions, readings, strict=True):
        assert_in_contract(reading)
        assert whole_text.startswith(reading.text)
        if position < event_end:
            assert isinstance(reading.error, StreamCut | ProviderConnectFailed), position
        else:
            assert reading.error is None
            assert reading.text == whole_text
            assert reading.finished == Finished(_reason(name))


def _position(headers: object) -> int:
    assert isinstance(headers, dict)
    return int(headers.get("x-client-request-id") or headers["x-request-id"])
