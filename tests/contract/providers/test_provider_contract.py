"""What every provider promises, held against every server there is for it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from message_service.providers.provider import Prompt, Provider, Started, TextDelta, UsageReported
from message_service.providers.scripted import ScriptedProvider
from tests.contract.providers.adapters import ADAPTERS, Adapter
from tests.contract.providers.fault_server import FaultServer, Request, Silence, Step, delta, stream_head
from tests.contract.providers.llama_server import llama_server
from tests.contract.providers.reading import assert_in_contract, prompt, read
from tests.contract.providers.recordings import recording, text_of
from tests.contract.providers.wire_events import WHOLE


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


def scripted() -> Subject:
    text = "Some words, and\n\nsome more."
    return Subject(
        ScriptedProvider(tokens_per_second=1000),
        prompt(f"/script\n{text}"),
        prompt("/script tokens=400 rate=10"),
        expected_text=text,
    )


@asynccontextmanager
async def recorded(session: aiohttp.ClientSession, adapter: Adapter) -> AsyncIterator[Subject]:
    """llama.cpp's own bytes, played again."""
    name = f"{adapter.dialect}_stopped"
    recorded_reply = recording(name)

    def play(request: Request) -> Sequence[Step]:
        if b"endless" in request.body:
            return [stream_head(), *BEGINNINGS[adapter.dialect], Silence()]
        return [recorded_reply]

    async with FaultServer() as server:
        server.routes["/v1/models"] = server.routes["/v1/models?limit=1000"] = [recording("models")]
        server.routes[adapter.path] = play
        yield Subject(
            adapter(session, server.url), prompt(), prompt("endless"), server.caller_left.is_set, text_of(name)
        )


def third_party(session: aiohttp.ClientSession, url: str, adapter: Adapter) -> Subject:
    return Subject(
        adapter(session, url, "gpt-4o"),
        prompt(),
        prompt("slowly"),
        expected_text="Hello from a third party's server.",
    )


@asynccontextmanager
async def live(session: aiohttp.ClientSession, binary: Path, adapter: Adapter) -> AsyncIterator[Subject]:
    with llama_server(binary, slot_context_tokens=16_384) as server:

        async def is_idle() -> bool:
            async with session.get(f"{server.url}/slots") as answer:
                return not any(slot["is_processing"] for slot in await answer.json())

        yield Subject(
            adapter(session, server.url), prompt(max_output_tokens=30), prompt(max_output_tokens=16_000), is_idle
        )


BEGINNINGS = {"chat": (delta("a"), delta("b")), **{dialect: whole[:3] for dialect, whole in WHOLE.items()}}
"""What a reply begins with that never ends."""
NAMES = ("lm_studio", "openai", "anthropic")
SUBJECTS = [
    pytest.param("scripted", "", id="scripted"),
    *(pytest.param("recorded", name, id=f"{name}-recorded") for name in NAMES),
    *(pytest.param("third_party", name, id=f"{name}-third_party") for name in NAMES),
    *(pytest.param("live", name, id=f"{name}-live", marks=pytest.mark.llama) for name in NAMES),
]


@pytest.fixture
async def subject(
    request: pytest.FixtureRequest, session: aiohttp.ClientSession, source: str, name: str
) -> AsyncIterator[Subject]:
    match source:
        case "scripted":
            yield scripted()
        case "recorded":
            async with recorded(session, ADAPTERS[name]) as found:
                yield found
        case "third_party":
            yield third_party(session, request.getfixturevalue("aimock_url"), ADAPTERS[name])
        case _:
            async with live(session, request.getfixturevalue("llama_binary_path"), ADAPTERS[name]) as found:
                yield found


every_provider = pytest.mark.parametrize(("source", "name"), SUBJECTS)


@every_provider
async def test_events_come_in_order_when_a_reply_is_whole(subject: Subject) -> None:
    reading = await read(subject.provider.stream(subject.ordinary))
    assert reading.error is None
    assert_in_contract(reading)
    assert reading.text
    if subject.expected_text is not None:
        assert reading.text == subject.expected_text
    usage = [event.usage for event in reading.events if isinstance(event, UsageReported) and event.is_final]
    assert len(usage) == 1
    assert usage[0].input_tokens > 0
    assert usage[0].output_tokens > 0
    assert not usage[0].is_estimated


@every_provider
async def test_start_names_who_answers_when_a_reply_begins(subject: Subject) -> None:
    stream = subject.provider.stream(subject.ordinary)
    started = await anext(stream)
    assert isinstance(started, Started)
    assert started.provider == subject.provider.name
    assert started.model in (await subject.provider.health()).models
    await stream.aclose()


@every_provider
async def test_provider_stops_within_a_second_when_the_stream_is_closed(subject: Subject) -> None:
    stream = subject.provider.stream(subject.endless)
    async for event in stream:
        if isinstance(event, TextDelta):
            break
    async with asyncio.timeout(1):
        await stream.aclose()
        await _until_idle(subject)


@every_provider
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


@every_provider
async def test_replies_do_not_mix_when_several_run_at_once(subject: Subject) -> None:
    readings = await asyncio.gather(*(read(subject.provider.stream(subject.ordinary)) for _ in range(20)))
    for reading in readings:
        assert reading.error is None
        assert_in_contract(reading)
        assert subject.expected_text in (None, reading.text)


@every_provider
async def test_capabilities_are_told_of_the_model_that_answers(subject: Subject) -> None:
    capabilities = await subject.provider.capabilities()
    assert capabilities.model in (await subject.provider.health()).models
    assert capabilities.is_streamed


@every_provider
async def test_count_is_what_the_reply_reports_where_the_server_counts(subject: Subject) -> None:
    counted = await subject.provider.count_tokens(subject.ordinary)
    reading = await read(subject.provider.stream(subject.ordinary))
    reported = {event.usage.input_tokens for event in reading.events if isinstance(event, UsageReported)}
    assert counted is None or {counted} == reported


@every_provider
async def test_health_is_good_when_the_provider_can_answer(subject: Subject) -> None:
    health = await subject.provider.health()
    assert health.provider == subject.provider.name
    assert health.is_reachable
    assert health.models
    assert health.latency_seconds is not None
    assert health.detail.startswith("Ready")


@every_provider
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
