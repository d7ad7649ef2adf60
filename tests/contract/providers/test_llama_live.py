"""The adapter against a running llama.cpp: what recordings cannot show."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
from pydantic import SecretStr

from message_service.errors import (
    ContextTooLong,
    ProviderAuthFailed,
    ProviderConnectFailed,
    ProviderTimeout,
    StreamCut,
)
from message_service.messages.reply import FinishReason
from message_service.providers.lm_studio import LmStudioProvider
from message_service.providers.provider import Finished, TextDelta, UsageReported
from tests.contract.providers.llama_server import SLOT_CONTEXT_TOKENS, LlamaServer, llama_server
from tests.contract.providers.reading import Reading, assert_in_contract, prompt, read

pytestmark = pytest.mark.llama


@pytest.fixture
def spacious(llama_binary_path: Path) -> Iterator[LlamaServer]:
    """Room for a reply that is still being written when something happens to the server."""
    with llama_server(llama_binary_path, slot_context_tokens=16_384, ends_by_itself=False) as server:
        yield server


def _provider(
    session: aiohttp.ClientSession, server: LlamaServer, *, key: str | None = None, token_timeout_seconds: float = 20
) -> LmStudioProvider:
    return LmStudioProvider(session, server.url, SecretStr(key) if key else None, None, 20, token_timeout_seconds)


async def test_error_says_so_when_the_prompt_is_longer_than_the_context(
    session: aiohttp.ClientSession, llama: LlamaServer
) -> None:
    reading = await read(_provider(session, llama).stream(prompt("a b c d " * 1000)))
    assert type(reading.error) is ContextTooLong
    assert str(SLOT_CONTEXT_TOKENS) in reading.error.detail


async def test_reply_ends_by_length_when_the_context_is_full(
    session: aiohttp.ClientSession, llama: LlamaServer
) -> None:
    reading = await read(_provider(session, llama).stream(prompt("a b c d " * 110, max_output_tokens=2000)))
    assert_in_contract(reading)
    assert reading.finished == Finished(FinishReason.LENGTH)
    usage = reading.events[-2]
    assert isinstance(usage, UsageReported)
    assert usage.usage.input_tokens + usage.usage.output_tokens == SLOT_CONTEXT_TOKENS


async def test_reply_ends_before_the_stop_sequence_when_the_model_writes_it(
    session: aiohttp.ClientSession, llama: LlamaServer
) -> None:
    reading = await read(_provider(session, llama).stream(prompt(max_output_tokens=900, stop=("a",))))
    assert_in_contract(reading)
    assert reading.finished == Finished(FinishReason.STOP)
    assert "a" not in reading.text


async def test_health_tells_the_context_of_a_slot_when_the_server_is_ready(
    session: aiohttp.ClientSession, llama: LlamaServer
) -> None:
    health = await _provider(session, llama).health()
    assert (health.models, health.context_tokens) == (("tiny",), SLOT_CONTEXT_TOKENS)


async def test_only_the_right_key_is_let_in_when_the_server_has_one(
    session: aiohttp.ClientSession, llama_binary_path: Path
) -> None:
    with llama_server(llama_binary_path, api_key="right") as server:
        wrong = await read(_provider(session, server, key="wrong").stream(prompt(model="tiny")))
        right = await read(_provider(session, server, key="right").stream(prompt(max_output_tokens=8)))
    assert type(wrong.error) is ProviderAuthFailed
    assert right.error is None


async def test_stream_is_cut_when_the_server_is_killed(session: aiohttp.ClientSession, spacious: LlamaServer) -> None:
    provider = _provider(session, spacious)
    reading = await _read_and_signal(provider, spacious, signal.SIGKILL)
    assert type(reading.error) is StreamCut
    # A dying process still takes connections until its last thread is gone.
    await asyncio.to_thread(os.waitid, os.P_PID, spacious.pid, os.WEXITED | os.WNOWAIT)
    assert type((await read(provider.stream(prompt(model="tiny")))).error) is ProviderConnectFailed


async def test_stream_is_given_up_when_the_server_is_stopped(
    session: aiohttp.ClientSession, spacious: LlamaServer
) -> None:
    provider = _provider(session, spacious, token_timeout_seconds=0.5)
    reading = await _read_and_signal(provider, spacious, signal.SIGSTOP)
    os.kill(spacious.pid, signal.SIGCONT)
    assert type(reading.error) is ProviderTimeout
    async with asyncio.timeout(10):
        assert (await read(provider.stream(prompt(max_output_tokens=8)))).error is None


async def _read_and_signal(provider: LmStudioProvider, server: LlamaServer, number: signal.Signals) -> Reading:
    """Read a long reply, and do this to the server after its tenth delta."""

    async def stream() -> AsyncIterator[object]:
        deltas = 0
        async for event in provider.stream(prompt(max_output_tokens=16_000)):
            yield event
            deltas += isinstance(event, TextDelta)
            if deltas == 10:
                os.kill(server.pid, number)

    reading = await read(stream())
    assert_in_contract(reading)
    return reading


async def test_reply_goes_on_from_its_beginning_when_one_is_given(
    session: aiohttp.ClientSession, llama: LlamaServer
) -> None:
    """The beginning adds its own tokens to the prompt and none of a turn that ends and another that begins."""
    provider = _provider(session, llama)
    plain, begun = [
        await read(provider.stream(prompt(max_output_tokens=8, prefill=prefill))) for prefill in ("", "a b c d")
    ]
    added = _input_tokens(begun) - _input_tokens(plain)
    assert 1 <= added <= len("a b c d")


def _input_tokens(reading: Reading) -> int:
    assert_in_contract(reading)
    (tokens,) = [event.usage.input_tokens for event in reading.events if isinstance(event, UsageReported)]
    return tokens
