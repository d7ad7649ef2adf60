"""What may go wrong in a stream of OpenAI's Responses, and how it ends early."""

import asyncio

import aiohttp
import pytest

from message_service.errors import (
    ContextTooLong,
    OutputSpentOnReasoning,
    ProviderError,
    ProviderFailed,
    ProviderRateLimited,
    ProviderRequestInvalid,
    StreamCut,
)
from message_service.messages.reply import FinishReason, Usage
from message_service.providers.provider import Finished, UsageReported
from tests.contract.providers.adapters import ADAPTERS, read_from
from tests.contract.providers.fault_server import FaultServer, Silence, Step, event, stream_head
from tests.contract.providers.wire_events import named, responses_end, responses_start, responses_text

RESPONSES_ENDS: dict[str, tuple[list[bytes], FinishReason]] = {
    "length": ([responses_end("incomplete", incomplete_details={"reason": "max_output_tokens"})], FinishReason.LENGTH),
    "filter": (
        [responses_end("incomplete", incomplete_details={"reason": "content_filter"})],
        FinishReason.CONTENT_FILTER,
    ),
    "policy": (
        [responses_end("failed", error={"code": "bio_policy", "message": "No."})],
        FinishReason.CONTENT_FILTER,
    ),
    "no details": ([responses_end("incomplete", incomplete_details=None)], FinishReason.LENGTH),
}


@pytest.mark.parametrize(("end", "reason"), RESPONSES_ENDS.values(), ids=RESPONSES_ENDS.keys())
async def test_finish_reason_is_ours_when_openai_ends_early(
    session: aiohttp.ClientSession, fault_server: FaultServer, end: list[bytes], reason: FinishReason
) -> None:
    steps = [stream_head(), responses_start(), responses_text("Half"), *end]
    reading = await read_from(session, fault_server, ADAPTERS["openai"], steps)
    assert reading.finished == Finished(reason)
    assert reading.events[-2] == UsageReported(Usage(12, 7))
    assert reading.text == "Half"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (named("response.failed", response={"error": {"code": "server_error", "message": "x"}}), ProviderFailed),
        (named("response.failed", response={"error": {"code": "rate_limit_exceeded"}}), ProviderRateLimited),
        (
            named("response.failed", response={"error": {"code": "invalid_prompt", "message": "x"}}),
            ProviderRequestInvalid,
        ),
        (named("response.failed", response={"error": None}), StreamCut),
        (named("error", code="server_error", message="x", param=None), ProviderFailed),
        (event({"type": "error", "code": "rate_limit_exceeded", "message": "x"}), ProviderRateLimited),
        (named("error", code="context_length_exceeded", message="x"), ContextTooLong),
    ],
)
async def test_error_has_its_class_when_openai_fails_inside_a_stream(
    session: aiohttp.ClientSession, fault_server: FaultServer, error: bytes, kind: type[ProviderError]
) -> None:
    steps = [stream_head(), responses_start(), responses_text("Half"), error]
    reading = await read_from(session, fault_server, ADAPTERS["openai"], steps)
    assert type(reading.error) is kind
    assert reading.text == "Half"


async def test_refusal_is_shown_and_told_when_the_model_refuses(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    steps = [stream_head(), responses_start(), named("response.refusal.delta", delta="I cannot."), responses_end()]
    reading = await read_from(session, fault_server, ADAPTERS["openai"], steps)
    assert (reading.text, reading.finished) == ("I cannot.", Finished(FinishReason.CONTENT_FILTER))


async def test_text_is_taken_from_the_end_when_no_deltas_came(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    output = [{"type": "reasoning"}, {"type": "message", "content": [{"type": "output_text", "text": "At once."}]}]
    steps = [stream_head(), responses_start(), responses_end(output=output)]
    assert (await read_from(session, fault_server, ADAPTERS["openai"], steps)).text == "At once."


async def test_text_ends_before_a_stop_sequence_when_the_api_takes_none(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    pieces = [responses_text(piece) for piece in ("One. T", "wo", ". EN", "D. Three.")]
    steps: list[Step] = [stream_head(), responses_start(), *pieces, Silence()]
    reading = await read_from(session, fault_server, ADAPTERS["openai"], steps, stop=("END",))
    assert (reading.text, reading.finished) == ("One. Two. ", Finished(FinishReason.STOP))
    async with asyncio.timeout(2):
        await fault_server.caller_left.wait()
    assert "stop" not in fault_server.requests[0].json()


async def test_token_classes_are_told_apart_when_openai_counts_them(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    usage = {
        "input_tokens": 2000,
        "input_tokens_details": {"cached_tokens": 1024, "cache_write_tokens": 512},
        "output_tokens": 90,
        "output_tokens_details": {"reasoning_tokens": 60},
    }
    steps = [stream_head(), responses_start(), responses_text("x"), responses_end(usage=usage)]
    reading = await read_from(session, fault_server, ADAPTERS["openai"], steps)
    counted = Usage(2000, 90, cached_input_tokens=1024, cache_write_tokens=512, reasoning_tokens=60)
    assert reading.events[-2] == UsageReported(counted)
    assert counted.uncached_input_tokens == 464


async def test_empty_reply_says_why_when_reasoning_used_up_its_tokens(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    spent = {"input_tokens": 12, "output_tokens": 400, "output_tokens_details": {"reasoning_tokens": 400}}
    end = responses_end("incomplete", incomplete_details={"reason": "max_output_tokens"}, usage=spent)
    reading = await read_from(session, fault_server, ADAPTERS["openai"], [stream_head(), responses_start(), end])
    assert type(reading.error) is OutputSpentOnReasoning
    assert reading.events[-1] == UsageReported(Usage(12, 400, reasoning_tokens=400)), "it is paid for"
    assert not reading.error.is_transient, "it would be paid for again"
