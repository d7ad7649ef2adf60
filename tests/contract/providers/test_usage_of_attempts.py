"""What is booked for an attempt: whatever its provider counted, however the attempt ended."""

import aiohttp
import pytest

from message_service.errors import OutputSpentOnReasoning, StreamCut
from message_service.messages.reply import Attempt, Usage
from message_service.providers.provider import TextDelta
from message_service.providers.routing.run import Route
from tests.contract.providers.adapters import ADAPTERS
from tests.contract.providers.fault_server import (
    DONE,
    FaultServer,
    Pause,
    Reset,
    Silence,
    Step,
    delta,
    event,
    stream_head,
    usage,
)
from tests.contract.providers.reading import Reading, prompt, read
from tests.contract.providers.routers import router_of
from tests.contract.providers.wire_events import MESSAGES_END, messages_start, messages_text

CACHED_START = messages_start(input_tokens=50, cache_read_input_tokens=1000, cache_creation_input_tokens=200)
"""The output counted by then is one token."""


def _words(text: str) -> int:
    return len(text.split())


async def _attempt(
    session: aiohttp.ClientSession, server: FaultServer, adapter: str, steps: list[Step], *, stop: tuple[str, ...] = ()
) -> tuple[Reading, Attempt]:
    server.routes[ADAPTERS[adapter].path] = steps
    route = Route(count_tokens=_words)
    reading = await read(router_of(ADAPTERS[adapter](session, server.url)).stream(prompt(stop=stop), route))
    (attempt,) = route.attempts
    return reading, attempt


async def test_tokens_are_booked_when_the_model_spent_them_all_on_reasoning(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    thought = event({"choices": [{"index": 0, "delta": {"reasoning_content": "Hm."}}]})
    steps: list[Step] = [stream_head(), thought, delta(finish="length"), usage(20, 400), DONE]
    reading, attempt = await _attempt(session, fault_server, "openai_compatible", steps)
    assert type(reading.error) is OutputSpentOnReasoning
    assert attempt.usage == Usage(20, 400)


@pytest.mark.parametrize("end", [[], [Pause(0.1), Reset()]], ids=["clean end", "reset"])
async def test_prompt_is_booked_by_its_classes_when_the_stream_is_cut(
    session: aiohttp.ClientSession, fault_server: FaultServer, end: list[Step]
) -> None:
    steps: list[Step] = [stream_head(), CACHED_START, messages_text("Three words only"), *end]
    reading, attempt = await _attempt(session, fault_server, "anthropic", steps)
    assert type(reading.error) is StreamCut
    assert attempt.usage == Usage(1250, 3, is_estimated=True, cached_input_tokens=1000, cache_write_tokens=200)


async def test_prompt_is_booked_by_its_classes_when_the_reply_is_cancelled(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    fault_server.routes["/v1/messages"] = [stream_head(), CACHED_START, messages_text("Two words"), Silence()]
    route = Route(count_tokens=_words)
    stream = router_of(ADAPTERS["anthropic"](session, fault_server.url)).stream(prompt(), route)
    async for shown in stream:
        if isinstance(shown, TextDelta):
            break
    await stream.aclose()
    assert [attempt.usage for attempt in route.attempts] == [
        Usage(1250, 2, is_estimated=True, cached_input_tokens=1000, cache_write_tokens=200)
    ]


async def test_output_is_estimated_when_we_end_the_text_before_the_provider_has_counted_it(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    steps: list[Step] = [stream_head(), CACHED_START, messages_text("Two words\n\nand more"), Silence()]
    reading, attempt = await _attempt(session, fault_server, "anthropic", steps, stop=("\n\n",))
    assert reading.text == "Two words"
    assert attempt.usage == Usage(1250, 2, is_estimated=True, cached_input_tokens=1000, cache_write_tokens=200)


@pytest.mark.parametrize(("counted", "booked"), [(1, 2), (9, 9)])
async def test_larger_count_of_output_is_booked_when_a_host_counts_as_it_writes_and_is_cut(
    session: aiohttp.ClientSession, fault_server: FaultServer, counted: int, booked: int
) -> None:
    steps: list[Step] = [stream_head(), delta("Two", usage={"prompt_tokens": 33, "completion_tokens": counted})]
    _, attempt = await _attempt(session, fault_server, "openai_compatible", [*steps, delta(" words")])
    assert attempt.usage == Usage(33, booked, is_estimated=True)


async def test_reported_usage_is_exact_when_the_reply_is_whole(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    steps: list[Step] = [stream_head(), CACHED_START, messages_text("Two words"), MESSAGES_END]
    _, attempt = await _attempt(session, fault_server, "anthropic", steps)
    assert attempt.usage == Usage(1250, 7, cached_input_tokens=1000, cache_write_tokens=200)
