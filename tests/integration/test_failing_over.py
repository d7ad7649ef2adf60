"""Failover as watchers and readers of a reply see it, over real model servers that misbehave."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any

import orjson
import pytest
import pytest_asyncio

from message_service.api.schemas.replies import ReplyShape
from message_service.api.wire import found_reply_json
from message_service.journey.submit import PostedMessage, submit
from message_service.live.event import Began, Placed, ProviderSwitched, Reset
from message_service.messages.reply import Asked, Reply, ReplyError, ReplyStatus, Usage
from message_service.store.database import Database
from message_service.store.mapping import usage_from_row
from message_service.store.replies import ReplyWithMessage
from tests.contract.providers.fault_server import (
    CHAT,
    DONE,
    MODELS,
    WELL,
    FaultServer,
    Pause,
    Request,
    Step,
    answer,
    delta,
    event,
    lm_studio_models,
    stream_head,
    usage,
)
from tests.contract.providers.wire_events import WHOLE
from tests.fixtures.samples import CONVERSATION, USER
from tests.fixtures.waiting import eventually
from tests.integration.stage import Stage, open_stage, positions, shown_text, stored_text


@pytest_asyncio.fixture
async def model_servers() -> AsyncIterator[list[FaultServer]]:
    async with AsyncExitStack() as stack:
        routes: dict[str, Any] = {MODELS: [lm_studio_models(fault=8192)]}
        yield [await stack.enter_async_context(FaultServer(dict(routes))) for _ in range(3)]


@asynccontextmanager
async def over(servers: Sequence[FaultServer], settings: dict[str, Any], **more: Any) -> AsyncIterator[Stage]:
    chosen = settings | {"lm_studio_url": tuple(server.url for server in servers), "lm_studio_model": "fault"} | more
    async with open_stage(**chosen) as stage:
        yield stage


def play_in_turn(servers: Sequence[FaultServer], *plays: Sequence[Step]) -> None:
    """The first one asked, whichever it is, plays the first of `plays`, and so on."""
    remaining = iter(plays)
    for server in servers:
        server.routes[CHAT] = lambda _: next(remaining)


async def told(stage: Stage, reply: Reply) -> tuple[list[object], ReplyWithMessage]:
    """What a watcher sees but for text, once its text was found to be the stored one."""
    sights = await stage.watch(reply)
    found = await stage.found(reply.id)
    assert shown_text(sights) == stored_text(found)
    assert positions(sights) == sorted(set(positions(sights))), "positions rise"
    kinds = (Began, ProviderSwitched, Reset)
    return [sight.event for sight in sights if isinstance(sight, Placed) and isinstance(sight.event, kinds)], found


async def test_watchers_keep_up_when_two_servers_fail_before_any_text(
    stores_of_the_stage: dict[str, Any], model_servers: list[FaultServer]
) -> None:
    play_in_turn(model_servers, [stream_head(), delta("")], [stream_head(), delta("")], WELL)
    async with over(model_servers, stores_of_the_stage) as stage, stage.worker():
        reply = await stage.ask("Hello!")
        events, found = await told(stage, reply)
        assert found.reply.status is ReplyStatus.COMPLETED
        assert stored_text(found) == "Hello"
        assert sum(isinstance(event, ProviderSwitched) for event in events) == 2
        assert isinstance(events[-1], Began)
        assert events[-1].provider == found.reply.provider
        assert [attempt.error for attempt in found.reply.attempt_log] == ["provider_stream_cut"] * 2 + [None]
        assert len({attempt.host for attempt in found.reply.attempt_log}) == 3


async def test_same_text_goes_on_when_the_policy_is_to_continue(
    stores_of_the_stage: dict[str, Any], model_servers: list[FaultServer]
) -> None:
    cut = [stream_head(), delta("Once upon a time "), delta("there was")]
    rest = [stream_head(), delta(" a lamp."), delta(finish="stop"), DONE]
    play_in_turn(model_servers, cut, rest)
    async with over(model_servers, stores_of_the_stage, midstream_policy="continue") as stage, stage.worker():
        await _looked_at(model_servers)
        events, found = await told(stage, await stage.ask("Hello!"))
        assert stored_text(found) == "Once upon a time there was a lamp."
        assert [type(event) for event in events] == [Began, ProviderSwitched, Began]
        assert found.reply.status is ReplyStatus.COMPLETED


async def test_every_attempt_is_booked_when_a_continuation_fails_before_it_has_anything_new(
    stores_of_the_stage: dict[str, Any], model_servers: list[FaultServer], database: Database
) -> None:
    cut = [stream_head(), delta("Once upon a time "), delta("there was")]
    play_in_turn(model_servers, cut, [stream_head(), delta("")], [stream_head(), delta(""), *cut[1:2]])
    async with over(model_servers, stores_of_the_stage, midstream_policy="continue") as stage, stage.worker():
        await _looked_at(model_servers)
        _, found = await told(stage, await stage.ask("Hello!"))
    assert (found.reply.status, stored_text(found)) == (ReplyStatus.INCOMPLETE, "Once upon a time there was")
    rows = await database.usage.find(sort=[("_id", 1)]).to_list()
    log = found.reply.attempt_log
    assert [row["provider"] for row in rows] == [attempt.provider for attempt in log]
    assert [usage_from_row(row) for row in rows] == [attempt.usage for attempt in log]
    assert [row["is_kept"] for row in rows] == [True, False, False], "the text is the first one's"
    assert found.message is not None
    assert found.message.usage == log[0].usage
    assert all(one.usage is not None and one.usage.is_estimated for one in log)
    inputs = [one.usage.input_tokens for one in log if one.usage is not None]
    assert inputs[1] > inputs[0], "what was shown was sent along"


async def test_text_is_kept_as_incomplete_when_the_policy_is_to_keep(
    stores_of_the_stage: dict[str, Any], model_servers: list[FaultServer]
) -> None:
    play_in_turn(model_servers, [stream_head(), delta("Half a")])
    async with over(model_servers, stores_of_the_stage, midstream_policy="keep") as stage, stage.worker():
        events, found = await told(stage, await stage.ask("Hello!"))
        assert (found.reply.status, stored_text(found)) == (ReplyStatus.INCOMPLETE, "Half a")
        assert [type(event) for event in events] == [Began]


async def test_attempts_before_a_retry_are_kept_with_those_after_it(
    stores_of_the_stage: dict[str, Any], model_servers: list[FaultServer]
) -> None:
    play_in_turn(model_servers[:1], [answer(529, b"")], WELL)
    async with over(model_servers[:1], stores_of_the_stage) as stage, stage.worker():
        ended = await stage.ended(await stage.ask("Hello!"))
        assert [attempt.error for attempt in ended.reply.attempt_log] == ["provider_overloaded", None]


def _refused(error: dict[str, str]) -> Sequence[Step]:
    return [answer(400, {"error": error})]


def _broken_off(error: dict[str, str]) -> Sequence[Step]:
    """As where the prompt is found to be too long once the stream has begun."""
    return [stream_head(), delta(""), event({"error": error})]


@pytest.mark.parametrize(
    ("overflowing", "shown"), [(_refused, [Began]), (_broken_off, [Began, Reset, Began])], ids=["refused", "broken_off"]
)
async def test_prompt_is_trimmed_by_the_servers_numbers_when_it_is_too_long(
    stores_of_the_stage: dict[str, Any],
    model_servers: list[FaultServer],
    overflowing: Callable[[dict[str, str]], Sequence[Step]],
    shown: list[type],
) -> None:
    asked: list[int] = []

    def overflow(context_tokens: int) -> Callable[[Request], Sequence[Step]]:
        def play(request: Request) -> Sequence[Step]:
            tokens = len(orjson.dumps(request.json()["messages"])) // 2  # a tokenizer twice as fine as ours
            asked.append(tokens)
            if tokens <= context_tokens:
                return [*WELL[:2], Pause(0.2), *WELL[2:]]  # long enough for a refusal of Redis to be noticed
            sentence = f"request ({tokens} tokens) exceeds the available context size ({context_tokens} tokens)"
            return overflowing({"type": "exceed_context_size_error", "message": sentence})

        return play

    server = model_servers[0]
    server.routes = {CHAT: overflow(1200)}
    async with over([server], stores_of_the_stage) as stage:
        for number in range(40):
            said = f"Message {number}: the quick brown fox jumps over the lazy dog, and then once more. " * 2
            posted = PostedMessage(user_id=USER, conversation_id=CONVERSATION, content=said, asked=None)
            await submit(posted, claim=None, desk=stage.api.desk)
        async with stage.worker():
            events, found = await told(stage, await stage.ask("And now?"))
    assert found.reply.status is ReplyStatus.COMPLETED, asked
    assert [type(event) for event in events] == shown
    assert found.reply.epoch == 1, "one claim saw it through"
    assert [attempt.error for attempt in found.reply.attempt_log] == ["context_too_long", None]
    assert asked[0] > 1200
    assert 300 < asked[1] <= 1200, "not more is cut than has to be"


async def test_prompt_is_cut_by_what_a_named_model_counts_when_it_answers_under_a_dated_name(
    stores_of_the_stage: dict[str, Any], model_servers: list[FaultServer]
) -> None:
    sent: list[int] = []

    def counting(request: Request) -> Sequence[Step]:
        characters = len(orjson.dumps(request.json()["messages"]))
        sent.append(characters)
        started = {"model": "fault-2026-08-07", "choices": [{"index": 0, "delta": {"content": "Hello"}}]}
        return [stream_head(), event(started), delta(finish="stop"), usage(characters // 2, 1), DONE]

    server = model_servers[0]
    server.routes = {CHAT: counting}
    small = {"context_tokens": 2_000, "output_reserve_tokens": 200}
    async with over([server], stores_of_the_stage, **small) as stage:
        for number in range(60):
            said = f"Message {number}: the quick brown fox jumps over the lazy dog, and then once more. " * 3
            posted = PostedMessage(user_id=USER, conversation_id=CONVERSATION, content=said, asked=None)
            await submit(posted, claim=None, desk=stage.api.desk)
        async with stage.worker():
            for _ in range(2):
                await stage.ended(await stage.ask("And now?", asked=Asked(model="fault")))
    first, second = sent
    assert second < 0.7 * first


async def test_reply_says_what_was_dropped_when_its_model_does_not_take_all_that_was_asked(
    stores_of_the_stage: dict[str, Any], model_servers: list[FaultServer]
) -> None:
    (vendor, lm_studio, _) = model_servers
    vendor.routes = {"/v1/messages": [stream_head(), *WHOLE["messages"]]}
    both = {"anthropic_base_url": vendor.url, "anthropic_model": "tiny", "providers": ("lm_studio", "anthropic")}
    async with over([lm_studio], stores_of_the_stage, **both) as stage, stage.worker():
        lm_studio.routes[CHAT] = [stream_head(), event({"model": "other", "choices": []})]
        found = await stage.ended(await stage.ask("Hello!", asked=Asked(temperature=0.5)))
        nothing_dropped = await stage.ended(await stage.ask("Hello!", asked=Asked(provider="anthropic")))
    other, dropped = found.reply.attempt_log
    assert other.warnings == ("model 'fault' was asked for, 'other' answers",)
    assert dropped.warnings == ("temperature was left out: tiny does not take it",)
    shown = ReplyShape.model_validate(found_reply_json(found)).attempt_log or []
    assert [attempt.warnings for attempt in shown] == [list(other.warnings), list(dropped.warnings)]
    (attempt,) = found_reply_json(nothing_dropped)["attempt_log"]
    assert "warnings" not in attempt


async def test_reply_fails_at_once_when_the_only_provider_does_not_have_the_configured_model(
    stores_of_the_stage: dict[str, Any], model_servers: list[FaultServer]
) -> None:
    server = model_servers[0]
    server.routes = {
        MODELS: [lm_studio_models(one=8192, another=8192)],
        CHAT: [answer(404, {"error": {"code": "model_not_found", "message": 'Model "fault" not found.'}})],
    }
    async with over([server], stores_of_the_stage) as stage, stage.worker():
        for _ in range(2):  # with the breaker closed, and with it open
            found = await stage.ended(await stage.ask("Hello!"))
            assert found.reply.status is ReplyStatus.FAILED
            assert found.reply.error == ReplyError("model_not_found", "The provider has no model of this name.")
            assert found.reply.finished_at is not None
            assert found.reply.finished_at < found.reply.deadline - timedelta(minutes=5)
    assert len([request for request in server.requests if request.path == CHAT]) == 1


async def test_reply_fails_at_once_and_says_what_to_do_when_its_tokens_were_spent_on_reasoning(
    stores_of_the_stage: dict[str, Any], model_servers: list[FaultServer]
) -> None:
    server = model_servers[0]
    thought = event({"model": "fault", "choices": [{"index": 0, "delta": {"reasoning_content": "Hm."}}]})
    server.routes[CHAT] = [stream_head(), thought, delta(finish="length"), usage(20, 400), DONE]
    async with over([server], stores_of_the_stage) as stage, stage.worker():
        found = await stage.ended(await stage.ask("Hello!"))
    assert found.reply.status is ReplyStatus.FAILED
    assert found.reply.error is not None
    assert found.reply.error.code == "output_spent_on_reasoning"
    assert "allow more" in found.reply.error.detail
    assert [attempt.usage for attempt in found.reply.attempt_log] == [Usage(20, 400)], "asked, and paid for, once"


async def _looked_at(servers: Sequence[FaultServer]) -> None:
    async def look() -> bool:
        return all(any(request.path == MODELS for request in server.requests) for server in servers)

    await eventually(look, seconds=20, what="the worker has looked at its servers")
