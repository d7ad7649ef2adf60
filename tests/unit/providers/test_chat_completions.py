"""The dialect: what is asked, what each chunk means, and how a stream may end."""

import itertools

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from message_service.errors import (
    ContextTooLong,
    EmptyResponse,
    OutputSpentOnReasoning,
    ProviderError,
    ProviderOverloaded,
    StreamCut,
)
from message_service.messages.message import Role
from message_service.messages.reply import FinishReason, Usage
from message_service.providers.chat_completions import ChatStream, messages, request_body
from message_service.providers.provider import (
    Finished,
    Prompt,
    ProviderEvent,
    Started,
    TextDelta,
    Turn,
    UsageReported,
)
from message_service.providers.reply_reader import is_same_model
from message_service.providers.sse import SseEvent

DONE = SseEvent("message", b"[DONE]")


def _prompt(*turns: Turn, instructions: str | None = None, **more: object) -> Prompt:
    return Prompt(
        instructions=instructions,
        turns=turns,
        prompt_tokens=10,
        max_output_tokens=64,
        **more,  # type: ignore[arg-type]  # each test names fields of Prompt
    )


def _chunk(delta: object = None, finish: str | None = None, **more: object) -> SseEvent:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return SseEvent("message", orjson.dumps({"model": "m", "choices": [choice], **more}))


def _say(text: str) -> SseEvent:
    return _chunk({"content": text})


def _read(*events: SseEvent, prompt_tokens: int = 10, context_tokens: int | None = None) -> list[ProviderEvent]:
    stream = ChatStream("p", "m")
    taken = [one for event in events for one in stream.take(event)]
    return [*taken, *stream.end(prompt_tokens=prompt_tokens, context_tokens=context_tokens)]


def _text(events: list[ProviderEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


# --- what is asked -----------------------------------------------------------------------------


def test_body_holds_what_was_asked_when_everything_is_given() -> None:
    prompt = _prompt(Turn(Role.USER, "Hi"), instructions="Be kind.", temperature=0.5, stop=("END",))
    assert request_body(prompt, "qwen") == {
        "model": "qwen",
        "messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}],
        "max_tokens": 64,
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0.5,
        "stop": ["END"],
    }


def test_body_leaves_the_choice_to_the_model_when_sampling_is_not_given() -> None:
    assert not {"temperature", "stop"} & request_body(_prompt(Turn(Role.USER, "Hi")), "m").keys()


@given(
    st.none() | st.text(min_size=1, max_size=5),
    st.lists(st.tuples(st.sampled_from(list(Role)), st.text(min_size=1, max_size=5)), min_size=1, max_size=8),
)
def test_roles_alternate_and_no_text_is_lost_when_neighbours_have_one_role(
    instructions: str | None, turns: list[tuple[Role, str]]
) -> None:
    sent = messages(_prompt(*(Turn(role, text) for role, text in turns), instructions=instructions))
    assert all(before["role"] != after["role"] for before, after in itertools.pairwise(sent))
    expected = ([instructions] if instructions else []) + [text for _, text in turns]
    assert "\n\n".join(message["content"] for message in sent) == "\n\n".join(expected)


# --- what a stream means -----------------------------------------------------------------------


def test_events_come_in_order_when_a_stream_is_whole() -> None:
    counted = SseEvent("message", b'{"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2}}')
    assert _read(_chunk({"role": "assistant", "content": None}), _say("Hel"), _say("lo"), _chunk({}, "stop"), counted,
                 DONE) == [
        Started("p", "m"),
        TextDelta("Hel"),
        TextDelta("lo"),
        UsageReported(Usage(5, 2)),
        Finished(FinishReason.STOP),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("stop", FinishReason.STOP),
        ("length", FinishReason.LENGTH),
        ("content_filter", FinishReason.CONTENT_FILTER),
        ("tool_calls", FinishReason.STOP),
        ("something_new", FinishReason.STOP),
    ],
)
def test_finish_reason_is_ours_when_the_server_gives_its_own(reason: str, finish: FinishReason) -> None:
    assert _read(_say("a"), _chunk({}, reason))[-1] == Finished(finish)


def test_reply_has_one_end_when_the_server_ends_it_twice() -> None:
    events = _read(_say("a"), _chunk({}, "stop"), _chunk({"content": "late"}, "length"), DONE, DONE, _say("later"))
    assert events[1:] == [TextDelta("a"), Finished(FinishReason.STOP)]


def test_text_is_kept_when_it_comes_with_the_end_marker() -> None:
    assert _read(_chunk({"content": "all"}, "stop"))[1:] == [TextDelta("all"), Finished(FinishReason.STOP)]


def test_reasoning_is_not_shown_when_a_model_thinks_aloud() -> None:
    assert _text(_read(_chunk({"reasoning_content": "hm"}), _chunk({"reasoning": "hm"}), _say("<think>hm</think>Yes"),
                       _chunk({}, "stop"))) == "Yes"  # fmt: skip


def test_refusal_is_shown_when_the_model_refuses() -> None:
    assert _text(_read(_chunk({"content": None, "refusal": "I cannot."}), _chunk({}, "stop"))) == "I cannot."


def test_last_usage_counts_when_it_is_reported_with_each_chunk() -> None:
    chunks = [_chunk({"content": "a"}, usage={"prompt_tokens": 5, "completion_tokens": n}) for n in (1, 2, 3)]
    events = _read(*chunks, _chunk({}, "stop", usage={"prompt_tokens": 5, "completion_tokens": 3}))
    assert [event for event in events if isinstance(event, UsageReported)] == [
        UsageReported(Usage(5, 1), is_final=False),
        UsageReported(Usage(5, 3)),
    ]


@pytest.mark.parametrize("usage", [None, {}, [], {"prompt_tokens": 0, "completion_tokens": 0}, {"prompt_tokens": "5"}])
def test_usage_is_left_out_when_the_server_did_not_count(usage: object) -> None:
    events = _read(_say("a"), _chunk({}, "stop", usage=usage))
    assert not any(isinstance(event, UsageReported) for event in events)


def test_caller_is_warned_when_another_model_answers() -> None:
    stream = ChatStream("p", "asked")
    assert stream.take(_say("a"))[0] == Started("p", "m", ("model 'asked' was asked for, 'm' answers",))


@pytest.mark.parametrize(
    ("asked", "answering", "is_same"),
    [
        ("qwen/qwen3-4b", "qwen/qwen3-4b", True),
        ("qwen3-4b@q4_k_m", "qwen3-4b", True),
        ("qwen3-4b", "qwen3-4b:2", True),
        ("Qwen3-4B", "qwen3-4b", True),
        ("qwen3-4b", "qwen3-8b", False),
    ],
)
def test_model_names_are_compared_without_additions_when_lm_studio_adds_some(
    asked: str, answering: str, is_same: bool
) -> None:
    assert is_same_model(asked, answering) is is_same


@given(st.text(st.characters(codec="utf-16"), max_size=30), st.lists(st.integers(0, 60), max_size=10))
def test_text_is_whole_when_a_server_cuts_it_between_utf16_units(text: str, cuts: list[int]) -> None:
    units = text.encode("utf-16-le")
    edges = [0, *sorted(2 * (cut % (len(units) // 2 + 1)) for cut in cuts), len(units)]
    pieces = [units[a:b].decode("utf-16-le", "surrogatepass") for a, b in itertools.pairwise(edges)]
    escaped = ["".join(f"\\u{ord(unit):04x}" if ord(unit) < 0x10000 else unit for unit in piece) for piece in pieces]
    chunks = [SseEvent("message", f'{{"choices":[{{"delta":{{"content":"{piece}"}}}}]}}'.encode()) for piece in escaped]
    stream = ChatStream("p", "m")
    deltas = [event.text for chunk in chunks for event in stream.take(chunk) if isinstance(event, TextDelta)]
    deltas += [event.text for event in stream.take(_chunk({}, "stop")) if isinstance(event, TextDelta)]
    assert "".join(deltas) == text
    assert all(delta and delta.encode() for delta in deltas)


def test_lone_half_becomes_a_replacement_character_when_its_other_half_never_comes() -> None:
    half = SseEvent("message", b'{"choices":[{"delta":{"content":"a\\ud83d"}}]}')
    assert _text(_read(half, _chunk({}, "stop"))) == "a\ufffd"


# --- what goes wrong ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        (SseEvent("message", b'{"error":{"message":"busy","type":"overloaded_error"}}'), ProviderOverloaded),
        (SseEvent("message", b'{"error":"The model has crashed without additional information."}'), StreamCut),
        (SseEvent("error", b'{"error":"Context size has been exceeded."}'), ContextTooLong),
        (SseEvent("error", b'{"message":"Context size has been exceeded."}'), ContextTooLong),
        (SseEvent("error", b"Context size has been exceeded."), ContextTooLong),
        (SseEvent("message", b"not json"), StreamCut),
        (SseEvent("message", b'"a string"'), StreamCut),
        (SseEvent("message", b"[" * 100_000), StreamCut),
        (_chunk({}, "abort"), StreamCut),
    ],
    ids=lambda value: str(value)[:50],
)
def test_stream_ends_in_its_error_when_one_comes_inside_it(event: SseEvent, kind: type[ProviderError]) -> None:
    stream = ChatStream("p", "m")
    stream.take(_say("some text"))
    with pytest.raises(ProviderError) as caught:
        stream.take(event)
    assert type(caught.value) is kind


_LEAVES = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5)
_KEYS = st.sampled_from(["choices", "delta", "content", "finish_reason", "usage", "model", "prompt_tokens", "index"])


@given(
    st.recursive(
        _LEAVES,
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_KEYS, inner, max_size=5),
        max_leaves=12,
    )
)
def test_only_errors_of_the_tree_leave_when_chunks_have_any_shape(chunk: object) -> None:
    try:
        for event in _read(SseEvent("message", orjson.dumps(chunk)), _say("a"), DONE):
            assert not isinstance(event, TextDelta) or event.text
    except ProviderError:
        pass


_REASONED = {"prompt_tokens": 5, "completion_tokens": 64, "completion_tokens_details": {"reasoning_tokens": 64}}


@pytest.mark.parametrize("last", [[], [DONE]])
def test_stream_is_cut_when_no_end_marker_came(last: list[SseEvent]) -> None:
    with pytest.raises(StreamCut):
        _read(_say("some text"), *last)


@pytest.mark.parametrize(
    ("events", "kind"),
    [
        ([], StreamCut),
        ([_chunk({"role": "assistant"})], StreamCut),
        ([DONE], EmptyResponse),
        ([_chunk({}, "stop"), DONE], EmptyResponse),
        ([_chunk({"content": ""}), _chunk({}, "length"), DONE], EmptyResponse),
        ([_chunk({"reasoning_content": "hm"}), _chunk({}, "length"), DONE], OutputSpentOnReasoning),
        ([_chunk({}, "length", usage=_REASONED), DONE], OutputSpentOnReasoning),
        ([_chunk({}, "stop", usage=_REASONED), DONE], EmptyResponse),
    ],
)
def test_empty_stream_is_no_reply_when_the_prompt_was_small(events: list[SseEvent], kind: type[ProviderError]) -> None:
    with pytest.raises(ProviderError) as caught:
        _read(*events, prompt_tokens=100, context_tokens=4096)
    assert type(caught.value) is kind


@pytest.mark.parametrize("events", [[], [DONE], [_chunk({}, "stop"), DONE], [_chunk({}, "length")]])
def test_empty_stream_means_a_full_context_when_the_prompt_fills_it(events: list[SseEvent]) -> None:
    with pytest.raises(ContextTooLong):
        _read(*events, prompt_tokens=4000, context_tokens=4096)


def test_empty_stream_means_a_full_context_when_the_server_counted_that_much() -> None:
    usage = {"prompt_tokens": 4096, "completion_tokens": 0}
    with pytest.raises(ContextTooLong):
        _read(_chunk({}, "stop", usage=usage), prompt_tokens=100, context_tokens=4096)


def test_empty_reply_is_complete_when_a_content_filter_took_it() -> None:
    assert _read(_chunk({}, "content_filter"), DONE)[-1] == Finished(FinishReason.CONTENT_FILTER)
