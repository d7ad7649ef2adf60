"""Watching: what a watcher is shown joins to what is stored, wherever it comes in and whatever fails meanwhile."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from message_service.errors import InvalidPosition
from message_service.ids import ConversationId, MessageId
from message_service.journey.watch import Closed, Sight, Silence, has_seen_the_end, watch
from message_service.live.event import (
    QUEUED,
    START,
    Began,
    Placed,
    Position,
    Queued,
    Step,
    Text,
)
from message_service.live.writer import LiveWriter
from message_service.messages.reply import ReplyStatus, first_take
from message_service.relay import Relay
from tests.fixtures.redis_faults import nobodys_url
from tests.fixtures.samples import completed
from tests.integration.stage import Stage, open_stage, positions, shown_text, stored_text
from tests.integration.steps import Steps


def kinds(sights: list[Sight]) -> list[str]:
    """What happened, in order; however many deltas the text came in."""
    names: list[str] = []
    for sight in sights:
        name = type(sight.event).__name__ if isinstance(sight, Placed) else type(sight).__name__
        if name != "Silence" and not (name == "Text" and names[-1:] == ["Text"]):
            names.append(name)
    return names


def closed(sights: list[Sight]) -> Closed:
    last = sights[-1]
    assert isinstance(last, Closed)
    assert sum(isinstance(sight, Closed) for sight in sights) == 1
    return last


async def test_whole_story_is_seen_when_a_watcher_is_there_from_the_start(stage: Stage) -> None:
    reply = await stage.ask("/script tokens=30 rate=100")
    watching = asyncio.create_task(stage.watch(reply))
    async with stage.worker():
        sights = await watching
    assert kinds(sights) == ["Queued", "Began", "Text", "Counted", "Closed"]
    assert positions(sights) == sorted(set(positions(sights)))
    found = closed(sights).found
    assert found.reply.status is ReplyStatus.COMPLETED
    assert shown_text(sights) == stored_text(found)
    assert sum(isinstance(sight, Placed) and isinstance(sight.event, Text) for sight in sights) > 1, "it was live"


async def test_place_in_the_line_is_seen_when_others_come_first(stage: Stage) -> None:
    for _ in range(2):
        await stage.ask("/script\nFirst.")
    reply = await stage.ask("/script\nLast.")
    watching = asyncio.create_task(stage.watch(reply))
    async with stage.worker():
        sights = await watching
    assert sights[0] == Placed(QUEUED, Queued(2))


async def test_rest_is_seen_when_watching_resumes_after_any_position(stage: Stage) -> None:
    async with stage.worker():
        reply = await stage.ask("/script tokens=25 rate=100")
        live = await stage.watch(reply)
        whole = shown_text(live)
        for number, position in enumerate(positions(live)[:-1]):
            seen = [sight for sight in live if isinstance(sight, Placed)][: number + 1]
            rest = await stage.watch(reply, position)
            assert all(later > position for later in positions(rest))
            assert shown_text([*seen, *rest]) == whole
            assert closed(rest) == closed(live)


async def test_watchers_see_the_same_when_they_come_at_different_moments(stage: Stage) -> None:
    async with stage.worker():
        reply = await stage.ask("/script tokens=60 rate=100")
        watching = [asyncio.create_task(stage.watch(reply))]
        for characters in (5, 60, 150):
            await stage.has_text(reply, characters)
            watching.append(asyncio.create_task(stage.watch(reply)))
        texts = [shown_text(await one) for one in watching]
        late = shown_text(await stage.watch(reply))
    assert set(texts) == {late}
    assert len(late) > 150


async def test_everything_is_seen_when_a_watcher_comes_long_after(stage: Stage, relay: Relay) -> None:
    async with stage.worker():
        reply = await stage.ask("/script\nLong ago.")
        await stage.ended(reply)
    await relay.quick.flushdb()
    sights = await stage.watch(reply)
    assert kinds(sights) == ["Began", "Text", "Counted", "Closed"]
    assert shown_text(sights) == "Long ago."
    end = positions(sights)[-1]
    assert has_seen_the_end(await stage.found(reply.id), end)
    assert not has_seen_the_end(await stage.found(reply.id), positions(sights)[-2])


async def test_text_is_whole_when_redis_forgets_everything_meanwhile(stage: Stage, relay: Relay) -> None:
    async with stage.worker():
        reply = await stage.ask("/script tokens=60 rate=60")
        watching = [asyncio.create_task(stage.watch(reply))]
        for characters in (5, 20):
            await stage.has_text(reply, characters)
        await relay.quick.flushdb()
        watching.append(asyncio.create_task(stage.watch(reply)))
        whole = stored_text(await stage.ended(reply))
        for one in watching:
            assert shown_text(await one) == whole


async def test_whole_reply_is_seen_when_redis_is_gone(stores_of_the_stage: dict[str, Any], tmp_path: Path) -> None:
    async with open_stage(**stores_of_the_stage | {"redis_url": nobodys_url(tmp_path)}) as stage:
        reply = await stage.ask("/script tokens=20 rate=100")
        watching = asyncio.create_task(stage.watch(reply))
        async with stage.worker():
            sights = await watching
        assert kinds(sights) == ["Queued", "Began", "Text", "Counted", "Closed"]
        assert shown_text(sights) == stored_text(closed(sights).found)


async def test_text_is_forgotten_when_the_provider_is_asked_again(stage: Stage) -> None:
    async with stage.worker():
        reply = await stage.ask("/script fail=overloaded attempts=1\nSecond time lucky.")
        sights = await stage.watch(reply)
    assert shown_text(sights) == "Second time lucky."
    assert kinds(sights)[-5:] == ["Reset", "Began", "Text", "Counted", "Closed"]


async def test_partial_text_is_seen_when_the_reply_is_cancelled(stage: Stage) -> None:
    async with stage.worker():
        reply = await stage.ask("/script tokens=1000 rate=100")
        watching = asyncio.create_task(stage.watch(reply))
        await stage.has_text(reply, 10)
        await stage.cancel(reply)
        sights = await watching
    found = closed(sights).found
    assert found.reply.status is ReplyStatus.CANCELLED
    assert shown_text(sights) == stored_text(found) != ""


async def test_end_is_seen_at_once_when_a_waiting_reply_is_cancelled(stage: Stage) -> None:
    reply = await stage.ask("/script\nNever.")
    watching = asyncio.create_task(stage.watch(reply))
    loop = asyncio.get_running_loop()
    await asyncio.sleep(0.1)  # it is watching by then, and not yet looking up by itself
    cancelled_at = loop.time()
    await stage.cancel(reply)
    sights = await watching
    assert loop.time() - cancelled_at < 1.5, "not only after two seconds of silence"
    assert kinds(sights) == ["Queued", "Closed"]
    assert closed(sights).found.reply.status is ReplyStatus.CANCELLED


async def test_failure_is_seen_when_there_is_no_text(stage: Stage) -> None:
    async with stage.worker(max_attempts=1):
        reply = await stage.ask("/script fail=empty")
        sights = await stage.watch(reply)
    found = closed(sights).found
    assert found.reply.status is ReplyStatus.FAILED
    assert (shown_text(sights), found.message) == ("", None)


async def handed_back_after_text(stage: Stage, steps: Steps, text: str) -> tuple[Any, list[Sight]]:
    """A reply that a worker began, showed text of, and handed back; and what a watcher had seen by then."""
    reply = await stage.ask("/script\nAnother text.")
    claimed = await steps.claim(reply)
    writer = LiveWriter(stage.api.channel, reply.id, take=first_take(claimed.epoch), kept_seconds=60)
    writer.began(Began("scripted", "scripted", 1))
    if text:
        writer.write(text)
    await stage.api.channel.drain()
    seen: list[Sight] = [*await stage.api.channel.read(reply.id, after=START)]
    assert await steps.claims.hand_back(claimed, delay_seconds=0, is_attempt_counted=False)
    return reply, seen


@pytest.mark.parametrize("text", ["", "Shown, and then"])
async def test_text_is_forgotten_when_a_reply_is_cancelled_that_was_handed_back(
    stage: Stage, steps: Steps, text: str
) -> None:
    reply, seen = await handed_back_after_text(stage, steps, text)
    await stage.cancel(reply)
    after = positions(seen)[-1]
    assert not has_seen_the_end(await stage.found(reply.id), after)
    rest = await stage.watch(reply, after)
    assert shown_text([*seen, *rest]) == stored_text(closed(rest).found) == ""
    assert all(position > after for position in positions(rest)), "ids only rise"


async def test_text_is_forgotten_while_watching_when_a_handed_back_reply_is_cancelled(
    stage: Stage, steps: Steps
) -> None:
    reply, _ = await handed_back_after_text(stage, steps, "Shown, and then")
    watching = asyncio.create_task(stage.watch(reply))
    await asyncio.sleep(0.1)  # it has seen the text by then
    await stage.cancel(reply)
    sights = await watching
    assert shown_text(sights) == ""
    assert positions(sights) == sorted(set(positions(sights)))


async def test_text_begins_anew_when_a_reply_was_handed_back(stage: Stage, steps: Steps) -> None:
    reply, seen = await handed_back_after_text(stage, steps, "Shown, and then")
    async with stage.worker():
        rest = await stage.watch(reply, positions(seen)[-1])
    assert kinds(rest) == ["Reset", "Began", "Text", "Counted", "Closed"]
    assert shown_text([*seen, *rest]) == "Another text."


async def test_position_is_refused_when_the_reply_cannot_have_issued_it(stage: Stage, steps: Steps) -> None:
    reply = await steps.ask()
    await steps.answer(reply, completed("Done."))
    found = await stage.found(reply.id)
    with pytest.raises(InvalidPosition):
        has_seen_the_end(found, Position(first_take(2), 0, Step.RESET))


async def test_watching_ends_without_an_end_when_the_process_goes_away(stage: Stage) -> None:
    reply = await stage.ask("/script\nLater.", conversation_id=ConversationId("conv-2"))
    watching = asyncio.create_task(stage.watch(reply))
    await asyncio.sleep(0.05)
    stage.api.follower.send_away()
    assert kinds(await watching) == ["Queued"]


async def test_silence_is_told_when_nothing_happens(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("message_service.journey.watch._SILENCE_SECONDS", 0.05)
    reply = await stage.ask("/script\nLater.")
    watching = asyncio.create_task(stage.watch(reply))
    await asyncio.sleep(0.3)
    stage.api.follower.send_away()
    sights = await watching
    assert sum(isinstance(sight, Silence) for sight in sights) > 2


async def test_position_does_not_fall_back_when_the_answer_is_hidden_while_it_is_watched(stage: Stage) -> None:
    reply = await stage.ask("/script tokens=30 rate=max")
    begun = await stage.found(reply.id)
    async with stage.worker():
        await stage.ended(reply)
    await stage.api.messages.delete(MessageId(reply.id), reply.user_id)
    # As one that looked before the end, and hears of it only after the hiding.
    async with stage.api.follower.subscribe(reply.id, after=START) as subscription, asyncio.timeout(10):
        sights = [sight async for sight in watch(begun, START, subscription=subscription, desk=stage.api.watching)]
    assert kinds(sights) == ["Queued", "Began", "Text", "Counted", "Closed"]
    assert positions(sights) == sorted(set(positions(sights)))
    last = closed(sights)
    assert last.found.message is None
    assert has_seen_the_end(last.found, last.position)
