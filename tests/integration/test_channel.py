"""The channel of a running reply: one order, no stale writer, and no harm done when Redis fails."""

import asyncio
from pathlib import Path

import pytest

from message_service.errors import ClaimLost, RelayUnavailable
from message_service.ids import ReplyId, new_reply_id
from message_service.live.channel import Channel, channel_key, decode
from message_service.live.event import (
    START,
    Began,
    Counted,
    Ended,
    LiveEvent,
    Placed,
    Position,
    ProviderSwitched,
    Reset,
    Step,
    Text,
)
from message_service.messages.reply import Usage
from message_service.relay import Relay, open_relay
from tests.fixtures.redis_faults import nobodys_url, refusing_writes
from tests.fixtures.samples import MOMENT

KEPT_SECONDS = 60
REPLY = new_reply_id()


@pytest.fixture
def channel(relay: Relay) -> Channel:
    return Channel(relay)


def at(take: int, characters: int, step: Step, event: LiveEvent) -> Placed:
    return Placed(Position(take, characters, step), event)


def story(take: int = 1000) -> list[Placed]:
    return [
        at(take, 0, Step.RESET, Reset("retried")),
        at(take, 0, Step.SWITCHED, ProviderSwitched("a", "b", "provider_overloaded")),
        at(take, 0, Step.STARTED, Began("b", "a model", 2, "b.host:80", MOMENT, 12)),
        at(take, 5, Step.TEXT, Text("Héllo")),
        at(take, 7, Step.TEXT, Text("\n😀")),
        at(take, 7, Step.USAGE, Counted(Usage(12, 3, True, cached_input_tokens=8, reasoning_tokens=1))),
        at(take, 7, Step.END, Ended()),
    ]


async def append(channel: Channel, *events: Placed, reply_id: ReplyId = REPLY) -> None:
    await asyncio.gather(*(channel.append(reply_id, event, kept_seconds=KEPT_SECONDS) for event in events))


async def test_events_come_out_as_they_went_in(channel: Channel) -> None:
    await append(channel, *story())
    assert await channel.read(REPLY, after=START) == story()


@pytest.mark.parametrize("seen", range(8))
async def test_rest_is_read_when_reading_resumes_after_any_event(channel: Channel, seen: int) -> None:
    await append(channel, *story())
    after = story()[seen - 1].position if seen else START
    assert await channel.read(REPLY, after=after) == story()[seen:]
    assert await channel.read(REPLY, after=after, up_to=str(story()[4].position)) == story()[seen:5]


async def test_replies_do_not_mix_when_they_share_a_trip(channel: Channel) -> None:
    ids = [new_reply_id() for _ in range(30)]
    await asyncio.gather(*(append(channel, *story(), reply_id=reply_id) for reply_id in ids))
    for reply_id in ids:
        assert await channel.read(reply_id, after=START) == story()


async def test_writer_is_refused_when_a_later_take_has_begun(channel: Channel) -> None:
    await append(channel, *story(1000)[:4])
    await append(channel, *story(2000)[:1])
    with pytest.raises(ClaimLost):
        await append(channel, *story(1000)[4:5])
    assert await channel.read(REPLY, after=START) == [*story(1000)[:4], *story(2000)[:1]]


async def test_one_is_refused_and_others_are_not_when_they_share_a_trip(channel: Channel) -> None:
    other = new_reply_id()
    await append(channel, *story(2000))
    answers = await asyncio.gather(
        channel.append(REPLY, story(1000)[3], kept_seconds=KEPT_SECONDS),
        channel.append(REPLY, story(1000)[2], kept_seconds=KEPT_SECONDS),
        channel.append(other, story(1000)[0], kept_seconds=KEPT_SECONDS),
        return_exceptions=True,
    )
    assert [type(answer) for answer in answers] == [ClaimLost, ClaimLost, type(None)]
    assert await channel.read(other, after=START) == story(1000)[:1]


async def test_nothing_is_kept_for_ever(channel: Channel, relay: Relay) -> None:
    await append(channel, story()[2])
    assert 0 < await relay.quick.ttl(channel_key(REPLY)) <= KEPT_SECONDS
    await channel.end(REPLY, story()[-1].position)
    assert KEPT_SECONDS < await relay.quick.ttl(channel_key(REPLY)) <= 300


async def test_text_so_far_is_that_of_the_newest_take(channel: Channel) -> None:
    assert await channel.text_so_far(REPLY) == ""
    await append(channel, *story(1000)[1:4])
    assert await channel.text_so_far(REPLY) == "Héllo"
    await append(channel, *story(1000)[4:])
    assert await channel.text_so_far(REPLY) == "Héllo\n😀"
    await append(channel, *story(2000)[:4])
    assert await channel.text_so_far(REPLY) == "Héllo"


async def test_text_so_far_is_not_mixed_when_the_reset_got_lost(channel: Channel) -> None:
    await append(channel, *story(1000)[:5])
    await append(channel, *story(2000)[2:4])
    assert await channel.text_so_far(REPLY) == "Héllo"


async def test_text_so_far_ends_where_a_piece_got_lost(channel: Channel) -> None:
    await append(channel, story(1000)[0], at(1000, 3, Step.TEXT, Text("abc")), at(1000, 9, Step.TEXT, Text("ghi")))
    assert await channel.text_so_far(REPLY) == "abc"


async def test_text_so_far_is_empty_when_its_beginning_got_lost(channel: Channel) -> None:
    await append(channel, story(1000)[0], at(1000, 9, Step.TEXT, Text("ghi")))
    assert await channel.text_so_far(REPLY) == ""


async def test_writer_hears_of_it_when_redis_refuses_to_write(channel: Channel, relay: Relay) -> None:
    async with refusing_writes(relay), asyncio.timeout(5):
        answers = await asyncio.gather(
            *(channel.append(REPLY, event, kept_seconds=KEPT_SECONDS) for event in story()), return_exceptions=True
        )
        assert {type(answer) for answer in answers} == {RelayUnavailable}
        await channel.end(REPLY, story()[-1].position)
        await channel.drain()
    await append(channel, *story())
    assert await channel.read(REPLY, after=START) == story()


async def test_writer_goes_on_when_redis_forgot_everything(channel: Channel, relay: Relay) -> None:
    await append(channel, *story()[:4])
    await relay.quick.flushdb()
    await append(channel, *story()[4:])
    assert await channel.read(REPLY, after=START) == story()[4:]


async def test_failure_is_told_quickly_and_the_end_never_fails_when_redis_is_gone(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    async with open_relay(nobodys_url(tmp_path)) as relay:
        channel = Channel(relay)
        began_at = loop.time()
        for _ in range(3):
            with pytest.raises(RelayUnavailable):
                await append(channel, story()[0])
            with pytest.raises(RelayUnavailable):
                await channel.read(REPLY, after=START)
        await channel.end(REPLY, story()[-1].position)
        assert loop.time() - began_at < 1.5


def test_parts_of_usage_are_zero_when_a_worker_from_before_they_were_told_apart_wrote_it() -> None:
    assert decode("1000-1", {"usage": "[12,3,true]"}).event == Counted(Usage(12, 3, is_estimated=True))


async def test_connections_are_left_to_writers_when_many_read_at_once(channel: Channel, relay: Relay) -> None:
    for placed in story():
        channel.append(REPLY, placed, kept_seconds=KEPT_SECONDS)
    await channel.drain()
    read = await asyncio.gather(*(channel.read(REPLY, after=START) for _ in range(200)))
    assert read == [story()] * 200
    assert len(relay.quick.connection_pool._available_connections) <= relay.quick.connection_pool.max_connections / 2
