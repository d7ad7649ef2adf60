"""What may go wrong in a stream of Anthropic's, and how it ends early."""

import aiohttp
import pytest

from message_service.errors import (
    ProviderAuthFailed,
    ProviderError,
    ProviderOverloaded,
    ProviderRateLimited,
    ProviderRequestInvalid,
    ProviderTimeout,
    StreamCut,
)
from message_service.messages.reply import FinishReason, Usage
from message_service.providers.provider import Finished, UsageReported
from tests.contract.providers.adapters import ADAPTERS, read_from
from tests.contract.providers.fault_server import FaultServer, Pause, Step, stream_head
from tests.contract.providers.reading import prompt, read
from tests.contract.providers.wire_events import MESSAGES_END, messages_reason, messages_start, messages_text, named


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("end_turn", FinishReason.STOP),
        ("stop_sequence", FinishReason.STOP),
        ("max_tokens", FinishReason.LENGTH),
        ("model_context_window_exceeded", FinishReason.LENGTH),
        ("pause_turn", FinishReason.LENGTH),
        ("refusal", FinishReason.CONTENT_FILTER),
        ("what_comes_next_year", FinishReason.STOP),
    ],
)
async def test_finish_reason_is_ours_when_anthropic_gives_its_own(
    session: aiohttp.ClientSession, fault_server: FaultServer, reason: str, finish: FinishReason
) -> None:
    steps = [stream_head(), messages_start(), messages_text("Half"), messages_reason(reason), named("message_stop")]
    reading = await read_from(session, fault_server, ADAPTERS["anthropic"], steps)
    assert reading.finished == Finished(finish)


async def test_stream_is_cut_when_only_its_stop_reason_came(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    steps = [stream_head(), messages_start(), messages_text("Half"), messages_reason("end_turn")]
    assert type((await read_from(session, fault_server, ADAPTERS["anthropic"], steps)).error) is StreamCut


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("overloaded_error", ProviderOverloaded),
        ("rate_limit_error", ProviderRateLimited),
        ("api_error", StreamCut),
        ("timeout_error", ProviderTimeout),
        ("invalid_request_error", ProviderRequestInvalid),
        ("authentication_error", ProviderAuthFailed),
    ],
)
async def test_error_is_classified_by_its_type_when_it_comes_inside_a_stream(
    session: aiohttp.ClientSession, fault_server: FaultServer, kind: str, expected: type[ProviderError]
) -> None:
    error = named("error", error={"type": kind, "message": "What it says."})
    steps = [stream_head(), messages_start(), messages_text("Half"), error]
    reading = await read_from(session, fault_server, ADAPTERS["anthropic"], steps)
    assert type(reading.error) is expected
    assert reading.text == "Half"


async def test_token_classes_are_told_apart_when_anthropic_counts_them(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    steps = [
        stream_head(),
        messages_start(input_tokens=50, cache_read_input_tokens=1000, cache_creation_input_tokens=200),
        messages_text("x"),
        messages_reason(output_tokens=5, cache_read_input_tokens=None),
        messages_reason(output_tokens=90, output_tokens_details={"thinking_tokens": 60}),
        named("message_stop"),
    ]
    reading = await read_from(session, fault_server, ADAPTERS["anthropic"], steps)
    counted = Usage(1250, 90, cached_input_tokens=1000, cache_write_tokens=200, reasoning_tokens=60)
    assert reading.events[-2] == UsageReported(counted)
    assert counted.uncached_input_tokens == 50


async def test_thinking_is_progress_and_no_text_when_the_model_thinks_first(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    thought = named("content_block_delta", index=0, delta={"type": "thinking_delta", "thinking": "Hm."})
    thoughts: list[Step] = [thought, Pause(0.1)] * 8
    steps = [stream_head(), messages_start(), *thoughts, messages_text("Yes."), MESSAGES_END]
    fault_server.routes["/v1/messages"] = steps
    provider = ADAPTERS["anthropic"](session, fault_server.url, first_token_seconds=0.4, token_seconds=0.4)
    reading = await read(provider.stream(prompt()))
    assert (reading.error, reading.text) == (None, "Yes.")


async def test_space_is_not_said_twice_when_the_prefill_ends_in_it(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    steps = [stream_head(), messages_start(), messages_text(" "), messages_text(" on."), MESSAGES_END]
    fault_server.routes["/v1/messages"] = steps
    provider = ADAPTERS["older_anthropic"](session, fault_server.url, "claude-haiku-4-5")
    reading = await read(provider.stream(prompt(prefill="I go ")))
    assert reading.text == "on."
    sent = fault_server.requests[0].json()["messages"]
    assert isinstance(sent, list)
    assert sent[-1] == {"role": "assistant", "content": [{"type": "text", "text": "I go"}]}


async def test_prefill_is_refused_before_asking_when_the_model_cannot_go_on(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    for adapter, model in (("anthropic", "claude-haiku-5-5"), ("openai", "gpt-6-luna")):
        reading = await read(ADAPTERS[adapter](session, fault_server.url, model).stream(prompt(prefill="I go")))
        assert type(reading.error) is ProviderRequestInvalid
    assert fault_server.requests == []
