"""What may go wrong in a stream of OpenAI's or Anthropic's, and the one error of our tree it becomes."""

import asyncio
from collections.abc import Sequence

import aiohttp
import pytest

from message_service.errors import (
    ContextTooLong,
    EmptyResponse,
    ModelUnavailable,
    ProviderAuthFailed,
    ProviderConnectFailed,
    ProviderError,
    ProviderFailed,
    ProviderOverloaded,
    ProviderQuotaExhausted,
    ProviderRateLimited,
    ProviderRequestInvalid,
    ProviderTimeout,
    StreamCut,
)
from message_service.messages.reply import FinishReason, Usage
from message_service.providers.provider import Finished, UsageReported
from tests.contract.providers.adapters import ADAPTERS, Adapter
from tests.contract.providers.fault_server import FaultServer, Pause, Reset, Silence, Step, answer, event, stream_head
from tests.contract.providers.reading import Reading, assert_in_contract, prompt, read
from tests.contract.providers.wire_events import (
    MESSAGES_END,
    WHOLE,
    messages_reason,
    messages_start,
    messages_text,
    named,
    responses_end,
    responses_start,
    responses_text,
)

VENDORS = ("openai", "anthropic")


@pytest.fixture(params=VENDORS)
def adapter(request: pytest.FixtureRequest) -> Adapter:
    return ADAPTERS[request.param]


async def _read(
    session: aiohttp.ClientSession, server: FaultServer, adapter: Adapter, steps: Sequence[Step], **asked: object
) -> Reading:
    server.routes[adapter.path] = steps
    reading = await read(adapter(session, server.url).stream(prompt(**asked)))  # type: ignore[arg-type]  # as given
    assert_in_contract(reading)
    return reading


# --- both --------------------------------------------------------------------------------------


async def test_reply_is_whole_when_nothing_is_wrong(
    session: aiohttp.ClientSession, fault_server: FaultServer, adapter: Adapter
) -> None:
    reading = await _read(session, fault_server, adapter, [stream_head(), *WHOLE[adapter.dialect]])
    assert reading.text == "Hello"
    assert reading.events[-2:] == [UsageReported(Usage(12, 7)), Finished(FinishReason.STOP)]


async def test_nothing_more_is_read_when_the_end_marker_came(
    session: aiohttp.ClientSession, fault_server: FaultServer, adapter: Adapter
) -> None:
    steps: list[Step] = [stream_head(), *WHOLE[adapter.dialect], *WHOLE[adapter.dialect], Silence()]
    assert (await _read(session, fault_server, adapter, steps)).text == "Hello"


@pytest.mark.parametrize(
    ("end", "kind"),
    [
        ([], StreamCut),
        ([event(b"[DONE]")], StreamCut),
        ([Pause(0.1), Reset()], StreamCut),
        ([event({"error": "The model has crashed without additional information."})], StreamCut),
        ([event({"error": {"message": "Overloaded", "type": "overloaded_error"}})], ProviderOverloaded),
        ([b"data: {{{{\n\n"], StreamCut),
        ([b"data: [1, 2]\n\n"], StreamCut),
        ([b"data: ", *[b"x" * 65_536] * 20], StreamCut),
    ],
    ids=["clean end", "DONE", "reset", "string error", "object error", "no JSON", "no object", "huge line"],
)
async def test_stream_ends_in_an_error_when_no_end_marker_came(
    session: aiohttp.ClientSession,
    fault_server: FaultServer,
    adapter: Adapter,
    end: list[Step],
    kind: type[ProviderError],
) -> None:
    reading = await _read(session, fault_server, adapter, [stream_head(), *WHOLE[adapter.dialect][:-1], *end])
    assert type(reading.error) is kind
    assert reading.text == "Hello"


@pytest.mark.parametrize(
    ("steps", "kind", "wait"),
    [
        ([answer(429, {"error": {"type": "rate_limit_error"}}, {"retry-after": "7"})], ProviderRateLimited, 7.0),
        ([answer(429, {"error": {"code": "slow_down"}}, {"retry-after-ms": "1500"})], ProviderRateLimited, 1.5),
        ([answer(429, {"error": {"code": "insufficient_quota"}})], ProviderQuotaExhausted, None),
        (
            [
                answer(
                    429,
                    {
                        "type": "error",
                        "error": {
                            "type": "rate_limit_error",
                            "message": "Spend limit",
                            "details": {"error_code": "enforced_spend_limit_reached"},
                        },
                    },
                )
            ],
            ProviderQuotaExhausted,
            None,
        ),
        ([answer(402, {"error": {"type": "billing_error"}})], ProviderQuotaExhausted, None),
        ([answer(529, {"error": {"type": "overloaded_error"}})], ProviderOverloaded, None),
        ([answer(503, {"error": {"code": "server_is_overloaded"}})], ProviderOverloaded, None),
        ([answer(504, {"error": {"type": "timeout_error"}})], ProviderTimeout, None),
        ([answer(500, {"error": {"type": "api_error"}})], ProviderFailed, None),
        ([answer(401, {"error": {"type": "authentication_error"}})], ProviderAuthFailed, None),
        (
            [answer(400, {"error": {"type": "invalid_request_error", "message": "prompt is too long: 9 > 8 maximum"}})],
            ContextTooLong,
            None,
        ),
        ([answer(400, {"error": {"type": "invalid_request_error", "message": "No."}})], ProviderRequestInvalid, None),
        ([answer(404, {"error": {"type": "not_found_error", "message": "model: tiny"}})], ModelUnavailable, None),
        ([answer(404, {"error": {"code": "model_not_found", "message": "No such model"}})], ModelUnavailable, None),
        ([answer(404, b"<html>Not found</html>")], ProviderConnectFailed, None),
        ([answer(200, b"<html>Sign in</html>", {"Content-Type": "text/html"})], StreamCut, None),
        ([answer(200, {"id": "msg_1", "content": []})], StreamCut, None),
        ([answer(302, b"", {"Location": "/elsewhere"})], ProviderConnectFailed, None),
        ([], StreamCut, None),
    ],
)
async def test_error_has_its_class_when_there_is_no_stream(
    session: aiohttp.ClientSession,
    fault_server: FaultServer,
    adapter: Adapter,
    steps: list[Step],
    kind: type[ProviderError],
    wait: float | None,
) -> None:
    reading = await _read(session, fault_server, adapter, steps)
    assert type(reading.error) is kind
    assert reading.error.retry_after_seconds == wait
    assert [request.path for request in fault_server.requests] == [adapter.path], "no redirect is followed"


async def test_setting_is_named_when_the_model_does_not_exist(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    unknown = [answer(404, {"error": {"type": "not_found_error", "message": "model: tiny"}})]
    reading = await _read(session, fault_server, ADAPTERS["anthropic"], unknown)
    assert reading.error is not None
    assert (
        reading.error.detail == "Anthropic has no model tiny for this account: correct MESSAGE_SERVICE_ANTHROPIC_MODEL."
    )


PINGS: list[Step] = [named("ping"), Pause(0.05)] * 40


async def test_stream_is_given_up_when_only_pings_come(
    session: aiohttp.ClientSession, fault_server: FaultServer, adapter: Adapter
) -> None:
    fault_server.routes[adapter.path] = [stream_head(), *WHOLE[adapter.dialect][:3], *PINGS]
    async with asyncio.timeout(1.5):
        reading = await read(adapter(session, fault_server.url, token_seconds=0.3).stream(prompt()))
    assert type(reading.error) is ProviderTimeout
    assert "silent for 0.3 s" in reading.error.detail
    assert reading.text.startswith("Hel")


async def test_first_token_is_given_up_when_only_pings_come(
    session: aiohttp.ClientSession, fault_server: FaultServer, adapter: Adapter
) -> None:
    fault_server.routes[adapter.path] = [stream_head(), WHOLE[adapter.dialect][0], *PINGS]
    async with asyncio.timeout(1.5):
        reading = await read(adapter(session, fault_server.url, first_token_seconds=0.3).stream(prompt()))
    assert type(reading.error) is ProviderTimeout


@pytest.mark.parametrize("named_parameter", ["temperature", "'temperature'"])
async def test_parameter_is_left_out_from_then_on_when_the_model_refuses_it(
    session: aiohttp.ClientSession, fault_server: FaultServer, named_parameter: str
) -> None:
    adapter = ADAPTERS["openai"]
    refusal = answer(400, {"error": {"type": "invalid_request_error", "message": f"Unsupported: {named_parameter}"}})
    fault_server.routes[adapter.path] = lambda request: (
        [refusal] if "temperature" in request.json() else [stream_head(), *WHOLE["responses"]]
    )
    provider = adapter(session, fault_server.url)
    for _ in range(2):
        reading = await read(provider.stream(prompt(temperature=0.5)))
        assert_in_contract(reading)
        assert reading.text == "Hello"
        assert "temperature was left out" in str(reading.events[0])
    assert len(fault_server.requests) == 3
    assert not (await provider.capabilities()).takes_temperature


# --- OpenAI ------------------------------------------------------------------------------------

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
    reading = await _read(session, fault_server, ADAPTERS["openai"], steps)
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
    reading = await _read(session, fault_server, ADAPTERS["openai"], steps)
    assert type(reading.error) is kind
    assert reading.text == "Half"


async def test_refusal_is_shown_and_told_when_the_model_refuses(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    steps = [stream_head(), responses_start(), named("response.refusal.delta", delta="I cannot."), responses_end()]
    reading = await _read(session, fault_server, ADAPTERS["openai"], steps)
    assert (reading.text, reading.finished) == ("I cannot.", Finished(FinishReason.CONTENT_FILTER))


async def test_text_is_taken_from_the_end_when_no_deltas_came(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    output = [{"type": "reasoning"}, {"type": "message", "content": [{"type": "output_text", "text": "At once."}]}]
    steps = [stream_head(), responses_start(), responses_end(output=output)]
    assert (await _read(session, fault_server, ADAPTERS["openai"], steps)).text == "At once."


async def test_text_ends_before_a_stop_sequence_when_the_api_takes_none(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    pieces = [responses_text(piece) for piece in ("One. T", "wo", ". EN", "D. Three.")]
    steps: list[Step] = [stream_head(), responses_start(), *pieces, Silence()]
    reading = await _read(session, fault_server, ADAPTERS["openai"], steps, stop=("END",))
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
    reading = await _read(session, fault_server, ADAPTERS["openai"], steps)
    counted = Usage(2000, 90, cached_input_tokens=1024, cache_write_tokens=512, reasoning_tokens=60)
    assert reading.events[-2] == UsageReported(counted)
    assert counted.uncached_input_tokens == 464


async def test_empty_reply_says_why_when_reasoning_used_up_its_tokens(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    steps = [
        stream_head(),
        responses_start(),
        named("response.reasoning_summary_text.delta", delta="Hm."),
        responses_end("incomplete", incomplete_details={"reason": "max_output_tokens"}),
    ]
    reading = await _read(session, fault_server, ADAPTERS["openai"], steps)
    assert type(reading.error) is EmptyResponse
    assert "reasoning" in reading.error.detail


# --- Anthropic ---------------------------------------------------------------------------------


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
    reading = await _read(session, fault_server, ADAPTERS["anthropic"], steps)
    assert reading.finished == Finished(finish)


async def test_stream_is_cut_when_only_its_stop_reason_came(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    steps = [stream_head(), messages_start(), messages_text("Half"), messages_reason("end_turn")]
    assert type((await _read(session, fault_server, ADAPTERS["anthropic"], steps)).error) is StreamCut


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
    reading = await _read(session, fault_server, ADAPTERS["anthropic"], steps)
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
    reading = await _read(session, fault_server, ADAPTERS["anthropic"], steps)
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
