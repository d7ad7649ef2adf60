"""What every provider promises, held against every server there is for it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from message_service.providers.lm_studio import LmStudioProvider
from message_service.providers.provider import Prompt, Provider, Started, TextDelta, UsageReported
from message_service.providers.scripted import ScriptedProvider
from tests.contract.providers.fault_server import FaultServer, Request, Silence, Step, delta, stream_head
from tests.contract.providers.llama_server import llama_server
from tests.contract.providers.reading import assert_in_contract, prompt, read
from tests.contract.providers.recordings import recording, text_of


@dataclass(frozen=True, slots=True)
class Subject:
    """A provider with a server behind it."""

    provider: Provider
    ordinary: Prompt
    endless: Prompt
    """Its reply goes on for many seconds."""
    is_idle: Callable[[], bool | Awaitable[bool]] | None = None
    """Whether the server has noticed that nobody reads `endless` any more."""
    expected_text: str | None = None


def _lm_studio(session: aiohttp.ClientSession, url: str, model: str | None = None) -> LmStudioProvider:
    return LmStudioProvider(session, url, None, model, first_token_timeout_seconds=20, token_timeout_seconds=20)


@pytest.fixture
def scripted() -> Subject:
    text = "Some words, and\n\nsome more."
    return Subject(
        ScriptedProvider(tokens_per_second=1000),
        prompt(f"/script\n{text}"),
        prompt("/script tokens=400 rate=10"),
        expected_text=text,
    )


@pytest.fixture
async def recorded(session: aiohttp.ClientSession) -> AsyncIterator[Subject]:
    """llama.cpp's own bytes, played again."""

    def play(request: Request) -> Sequence[Step]:
        return [stream_head(), delta("a"), delta("b"), Silence()] if b"endless" in request.body else [recorded_reply]

    recorded_reply = recording("chat_stopped")
    async with FaultServer() as server:
        server.routes["/v1/models"] = [recording("models")]
        server.routes["/v1/chat/completions"] = play
        yield Subject(
            _lm_studio(session, server.url),
            prompt(),
            prompt("endless"),
            server.caller_left.is_set,
            text_of("chat_stopped"),
        )


@pytest.fixture
def third_party(session: aiohttp.ClientSession, aimock_url: str) -> Subject:
    return Subject(
        _lm_studio(session, aimock_url, "gpt-4o"),
        prompt(),
        prompt("slowly"),
        expected_text="Hello from a third party's server.",
    )


@pytest.fixture
async def live(session: aiohttp.ClientSession, llama_binary_path: Path) -> AsyncIterator[Subject]:
    with llama_server(llama_binary_path, slot_context_tokens=16_384) as server:

        async def is_idle() -> bool:
            async with session.get(f"{server.url}/slots") as answer:
                return not any(slot["is_processing"] for slot in await answer.json())

        yield Subject(
            _lm_studio(session, server.url), prompt(max_output_tokens=30), prompt(max_output_tokens=16_000), is_idle
        )


@pytest.fixture(
    params=["scripted", "recorded", "third_party", pytest.param("live", marks=pytest.mark.llama)],
)
def subject(request: pytest.FixtureRequest) -> Subject:
    found: Subject = request.getfixturevalue(request.param)
    return found


async def test_events_come_in_order_when_a_reply_is_whole(subject: Subject) -> None:
    reading = await read(subject.provider.stream(subject.ordinary))
    assert reading.error is None
    assert_in_contract(reading)
    assert reading.text
    if subject.expected_text is not None:
        assert reading.text == subject.expected_text
    usage = [event.usage for event in reading.events if isinstance(event, UsageReported)]
    assert len(usage) == 1
    assert usage[0].input_tokens > 0
    assert usage[0].output_tokens > 0
    assert not usage[0].is_estimated


async def test_start_names_who_answers_when_a_reply_begins(subject: Subject) -> None:
    stream = subject.provider.stream(subject.ordinary)
    started = await anext(stream)
    assert isinstance(started, Started)
    assert started.provider == subject.provider.name
    assert started.model in (await subject.provider.health()).models
    await stream.aclose()


async def test_provider_stops_within_a_second_when_the_stream_is_closed(subject: Subject) -> None:
    stream = subject.provider.stream(subject.endless)
    async for event in stream:
        if isinstance(event, TextDelta):
            break
    async with asyncio.timeout(1):
        await stream.aclose()
        await _until_idle(subject)


async def test_provider_stops_within_a_second_when_its_reader_is_cancelled(subject: Subject) -> None:
    first_text = asyncio.Event()

    async def watch() -> None:
        async with aclosing(subject.provider.stream(subject.endless)) as stream:
            async for event in stream:
                if isinstance(event, TextDelta):
                    first_text.set()

    reader = asyncio.create_task(watch())
    await first_text.wait()
    async with asyncio.timeout(1):
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        await _until_idle(subject)


async def test_replies_do_not_mix_when_several_run_at_once(subject: Subject) -> None:
    readings = await asyncio.gather(*(read(subject.provider.stream(subject.ordinary)) for _ in range(20)))
    for reading in readings:
        assert reading.error is None
        assert_in_contract(reading)
        assert subject.expected_text in (None, reading.text)


async def test_health_is_good_when_the_provider_can_answer(subject: Subject) -> None:
    health = await subject.provider.health()
    assert health.provider == subject.provider.name
    assert health.is_reachable
    assert health.models
    assert health.latency_seconds is not None
    assert health.detail.startswith("Ready")


async def test_close_is_harmless_when_it_is_called_twice(subject: Subject) -> None:
    await subject.provider.close()
    await subject.provider.close()


async def _until_idle(subject: Subject) -> None:
    while not await _is_idle(subject):  # noqa: ASYNC110  # another process has no Event to wait for
        await asyncio.sleep(0.01)


async def _is_idle(subject: Subject) -> bool:
    if subject.is_idle is None:
        return True  # neither aimock nor the scripted provider can be asked
    answer = subject.is_idle()
    return answer if isinstance(answer, bool) else await answer
