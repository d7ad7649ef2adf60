"""What a server may do wrong on the wire, and the one error of our tree it becomes."""

import asyncio
from collections.abc import Sequence

import aiohttp
import pytest
from pydantic import SecretStr

from message_service.errors import (
    ContextTooLong,
    EmptyResponse,
    ModelUnavailable,
    ProviderAuthFailed,
    ProviderConnectFailed,
    ProviderError,
    ProviderFailed,
    ProviderOverloaded,
    ProviderRateLimited,
    ProviderRequestInvalid,
    ProviderTimeout,
    StreamCut,
)
from message_service.messages.reply import FinishReason, Usage
from message_service.providers.lm_studio import LmStudioProvider
from message_service.providers.provider import Finished, Prompt, TextDelta, UsageReported
from tests.contract.providers.fault_server import (
    CHAT,
    DONE,
    FaultServer,
    Pause,
    Reset,
    Silence,
    Step,
    answer,
    delta,
    event,
    lm_studio_models,
    stream_head,
    usage,
)
from tests.contract.providers.reading import Reading, assert_in_contract, prompt, read
from tests.contract.providers.recordings import recording

OVERFLOW = "Trying to keep the first 9000 tokens when context the overflows. However, the model is loaded with ..."
CRASH = "The model has crashed without additional information. (Exit code: null)"
WHOLE = (delta("Hel"), delta("lo"), delta(finish="stop"), usage(5, 2), DONE)


def _provider(
    session: aiohttp.ClientSession,
    server: FaultServer,
    *,
    first_token_timeout_seconds: float = 20,
    token_timeout_seconds: float = 20,
) -> LmStudioProvider:
    return LmStudioProvider(
        session,
        server.url,
        SecretStr("a-key"),
        "fault",
        first_token_timeout_seconds=first_token_timeout_seconds,
        token_timeout_seconds=token_timeout_seconds,
    )


async def _read(
    session: aiohttp.ClientSession, server: FaultServer, steps: Sequence[Step], asked: Prompt | None = None
) -> Reading:
    server.routes[CHAT] = steps
    server.routes.setdefault("/api/v1/models", [lm_studio_models(fault=4096)])
    reading = await read(_provider(session, server).stream(asked or prompt()))
    assert_in_contract(reading)
    return reading


# --- a reply that is whole in spite of everything ----------------------------------------------


@pytest.mark.parametrize(
    "steps",
    [
        [stream_head(), *WHOLE],
        [stream_head(), *(piece.replace(b"\n", b"\r\n") for piece in WHOLE)],
        [stream_head(), *(piece.replace(b"\n", b"\r") for piece in WHOLE)],
        [stream_head(), b": ping\n\n", delta("Hel"), b": ping\n\n", *WHOLE[1:]],
        [stream_head(), *WHOLE, DONE, delta("late"), delta(finish="length"), DONE],
        [stream_head(), *WHOLE[:3], delta(finish="length"), usage(5, 2), DONE],
        [stream_head(), *WHOLE[:4]],
        [stream_head("text/event-stream; charset=utf-8"), *WHOLE],
        [stream_head(""), *WHOLE],
        [stream_head(), delta(""), event({"choices": [{"index": 0, "delta": None}]}), *WHOLE],
    ],
    ids=["plain", "CRLF", "CR", "comments", "two ends", "two reasons", "no DONE", "charset", "no type", "empty deltas"],
)
async def test_reply_is_whole_when_the_stream_is_unusual(
    session: aiohttp.ClientSession, fault_server: FaultServer, steps: list[Step]
) -> None:
    reading = await _read(session, fault_server, steps)
    assert reading.error is None
    assert reading.text == "Hello"
    assert reading.events[-2:] == [UsageReported(Usage(5, 2)), Finished(FinishReason.STOP)]


async def test_text_is_whole_when_characters_are_cut_between_packets(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    text = "Grüße 😀 日本"
    raw = b'data: {"choices":[{"index":0,"delta":{"content":"' + text.encode() + b'"}}]}\n\n'
    packets: list[Step] = []
    for position in range(len(raw)):
        packets += [raw[position : position + 1], Pause(0.001)]
    assert (await _read(session, fault_server, [stream_head(), *packets, *WHOLE[2:]])).text == text


@pytest.mark.parametrize("end", [[], [Reset()], [Silence()]], ids=["closed", "reset", "silent"])
async def test_reply_is_whole_without_usage_when_the_server_leaves_after_the_end_marker(
    session: aiohttp.ClientSession, fault_server: FaultServer, end: list[Step]
) -> None:
    reading = await _read(session, fault_server, [stream_head(), *WHOLE[:3], Pause(0.1), *end])
    assert reading.error is None
    assert reading.text == "Hello"
    assert isinstance(reading.events[-2], TextDelta)
    assert reading.events[-1] == Finished(FinishReason.STOP)


# --- errors ------------------------------------------------------------------------------------

FAULTS: dict[str, tuple[Sequence[Step], type[ProviderError], str]] = {
    "clean end without marker": ([stream_head(), *WHOLE[:2]], StreamCut, "Hello"),
    "DONE without marker": ([stream_head(), *WHOLE[:2], DONE], StreamCut, "Hello"),
    "reset": ([stream_head(), *WHOLE[:2], Pause(0.1), Reset()], StreamCut, "Hello"),
    "reset before the answer": ([Reset()], StreamCut, ""),
    "closed before the answer": ([], StreamCut, ""),
    "half a head": ([b"HTTP/1.1 200 OK\r\nContent-"], StreamCut, ""),
    "not HTTP": ([b"SSH-2.0-OpenSSH_9.2\r\n\r\n"], ProviderConnectFailed, ""),
    "HTTP chunk cut": (
        [b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n", b"ff\r\ndata"],
        StreamCut,
        "",
    ),
    "empty 200": ([answer(200, b"", {"Content-Type": "text/event-stream"})], StreamCut, ""),
    "empty 200 that is no stream": ([answer(200, b"")], StreamCut, ""),
    "page instead of a stream": ([answer(200, b"<html>Sign in</html>", {"Content-Type": "text/html"})], StreamCut, ""),
    "reply instead of a stream": ([answer(200, {"choices": [{"message": {"content": "Hi"}}]})], StreamCut, ""),
    "no text": ([stream_head(), delta(""), delta(finish="stop"), DONE], EmptyResponse, ""),
    "huge line": ([stream_head(), delta("a"), b"data: ", *[b"x" * 65_536] * 20], StreamCut, "a"),
    "nonsense": ([stream_head(), delta("a"), event(b"{{{{"), *WHOLE], StreamCut, "a"),
    "error event": (
        [stream_head(), delta("a"), b'event: error\ndata: {"error":{"message":"busy","type":"overloaded_error"}}\n\n'],
        ProviderOverloaded,
        "a",
    ),
    "error in a chunk": ([stream_head(), delta("a"), event({"error": {"message": "x", "code": 502}})],
                         ProviderFailed, "a"),
    "error as a string": ([stream_head(), delta("a"), event({"error": CRASH}), DONE], StreamCut, "a"),
    "overflow under 200": ([stream_head(), event({"error": "Context size has been exceeded."}), DONE],
                           ContextTooLong, ""),
    "overflow under 200 that is no stream": ([answer(200, {"error": OVERFLOW})], ContextTooLong, ""),
    "overflow as a string": ([answer(400, {"error": OVERFLOW})], ContextTooLong, ""),
    "overflow of llama.cpp": ([recording("chat_overflow")], ContextTooLong, ""),
    "bad key at llama.cpp": ([recording("chat_unauthorized")], ProviderAuthFailed, ""),
    "unknown path": ([recording("unknown_path")], ProviderConnectFailed, ""),
    "unknown path under 200": ([answer(200, {"error": "Unexpected endpoint or method. (POST /)"})],
                               ProviderConnectFailed, ""),
    "no model": ([answer(404, {"error": {"message": "No models loaded. Please load a model", "code": None}})],
                 ModelUnavailable, ""),
    "bad request": ([answer(400, {"error": "Invalid 'temperature'"})], ProviderRequestInvalid, ""),
    "redirect": ([answer(302, b"", {"Location": "/elsewhere"})], ProviderConnectFailed, ""),
    "500": ([answer(500, b"Internal Server Error", {"Content-Type": "text/plain"})], ProviderFailed, ""),
    "529": ([answer(529, {"error": {"type": "overloaded_error"}})], ProviderOverloaded, ""),
    "body of an error cut": ([b"HTTP/1.1 503 X\r\nContent-Length: 500\r\n\r\n", b'{"err'], ProviderOverloaded, ""),
}  # fmt: skip


@pytest.mark.parametrize(("steps", "kind", "text"), FAULTS.values(), ids=FAULTS.keys())
async def test_stream_ends_in_one_error_when_the_server_fails(
    session: aiohttp.ClientSession,
    fault_server: FaultServer,
    steps: Sequence[Step],
    kind: type[ProviderError],
    text: str,
) -> None:
    reading = await _read(session, fault_server, steps)
    assert type(reading.error) is kind
    assert reading.error.provider == "lm_studio"
    assert reading.text == text


async def test_wait_is_told_when_the_server_asks_for_one(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    reading = await _read(session, fault_server, [answer(429, {"error": "slow down"}, {"Retry-After": "7"})])
    assert type(reading.error) is ProviderRateLimited
    assert (reading.error.retry_after_seconds, reading.error.status) == (7.0, 429)


async def test_silence_means_a_full_context_when_the_prompt_fills_it(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    reading = await _read(session, fault_server, [stream_head(), DONE], prompt(prompt_tokens=4000))
    assert type(reading.error) is ContextTooLong
    assert "4,096" in reading.error.detail


async def test_redirect_is_not_followed_when_the_server_sends_one(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    await _read(session, fault_server, [answer(307, b"", {"Location": f"{fault_server.url}/elsewhere"})])
    assert [request.path for request in fault_server.requests] == [CHAT]


# --- time --------------------------------------------------------------------------------------


async def test_provider_cannot_be_reached_when_nothing_listens(session: aiohttp.ClientSession) -> None:
    async with FaultServer() as server:
        provider = _provider(session, server)
    assert type((await read(provider.stream(prompt()))).error) is ProviderConnectFailed


COMMENTS: list[Step] = [b": still there\n\n", Pause(0.05)] * 40


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        ([Silence()], "It sent nothing at all."),
        ([stream_head(), Silence()], "No token came within 0.3 s."),
        ([stream_head(), delta(""), Silence()], "No token came within 0.3 s."),
        ([stream_head(), *COMMENTS], "No token came within 0.3 s."),
    ],
    ids=["no head", "no event", "no text", "comments only"],
)
async def test_first_token_is_given_up_when_it_does_not_come_in_time(
    session: aiohttp.ClientSession, fault_server: FaultServer, steps: list[Step], told: str
) -> None:
    fault_server.routes[CHAT] = steps
    provider = _provider(session, fault_server, first_token_timeout_seconds=0.3)
    async with asyncio.timeout(1.5):
        reading = await read(provider.stream(prompt()))
    assert type(reading.error) is ProviderTimeout
    assert told in reading.error.detail


async def test_stream_is_given_up_when_it_goes_silent(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    fault_server.routes[CHAT] = [stream_head(), delta("a"), *COMMENTS]
    reading = await read(_provider(session, fault_server, token_timeout_seconds=0.3).stream(prompt()))
    assert type(reading.error) is ProviderTimeout
    assert "silent for 0.3 s" in reading.error.detail
    assert reading.text == "a"


async def test_stream_is_given_up_in_time_when_its_http_framing_breaks(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    # aiohttp says nothing about a chunk size that is no number: only the clock helps.
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    fault_server.routes[CHAT] = [head, Pause(0.1), b"zz\r\n", Silence()]
    reading = await read(_provider(session, fault_server, first_token_timeout_seconds=0.5).stream(prompt()))
    assert isinstance(reading.error, StreamCut | ProviderTimeout)


async def test_first_token_has_its_own_time_when_it_is_slower_than_the_others(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    fault_server.routes[CHAT] = [stream_head(), Pause(0.6), *WHOLE]
    reading = await read(_provider(session, fault_server, token_timeout_seconds=0.3).stream(prompt()))
    assert reading.error is None


async def test_reasoning_counts_as_progress_when_it_is_long(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    thought = event({"choices": [{"index": 0, "delta": {"reasoning_content": "hm"}}]})
    thoughts: list[Step] = [thought, Pause(0.1)] * 8
    fault_server.routes[CHAT] = [stream_head(), *thoughts, *WHOLE]
    provider = _provider(session, fault_server, first_token_timeout_seconds=0.4, token_timeout_seconds=0.4)
    assert (await read(provider.stream(prompt()))).text == "Hello"


async def test_slow_reader_is_not_held_against_the_provider_when_it_pauses(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    fault_server.routes[CHAT] = [stream_head(), delta("a"), Pause(0.6), *WHOLE]
    text = ""
    async for one in _provider(session, fault_server, token_timeout_seconds=0.5).stream(prompt()):
        if isinstance(one, TextDelta):
            text += one.text
            await asyncio.sleep(0.4)
    assert text == "aHello"
