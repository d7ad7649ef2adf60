"""A worker's pen: few deltas, none lost, and none after it was told to stop."""

import asyncio
from pathlib import Path

import pytest

from message_service.errors import RelayUnavailable
from message_service.gathering import gathering_seconds
from message_service.ids import ReplyId, new_reply_id
from message_service.live.channel import Channel
from message_service.live.event import START, Began, Counted, Ended, LiveEvent, Placed, Position, Step, Text
from message_service.live.writer import LiveWriter
from message_service.messages.reply import Usage
from message_service.relay import Relay, open_relay
from tests.fixtures.redis_faults import nobodys_url
from tests.fixtures.waiting import eventually

KEPT_SECONDS = 60
REPLY = new_reply_id()


@pytest.fixture
def channel(relay: Relay) -> Channel:
    return Channel(relay)


class SlowChannel(Channel):
    """Answers no append before it may; what it was given has arrived all the same."""

    def __init__(self, relay: Relay, may_answer: asyncio.Event) -> None:
        super().__init__(relay)
        self._may_answer = may_answer

    def append(self, reply_id: ReplyId, placed: Placed, *, kept_seconds: int) -> asyncio.Future[None]:
        return asyncio.ensure_future(self._answer_later(super().append(reply_id, placed, kept_seconds=kept_seconds)))

    async def _answer_later(self, outcome: asyncio.Future[None]) -> None:
        await outcome
        await self._may_answer.wait()


class BrokenChannel(Channel):
    """Fails an append once it was told to: before Redis has it, or after."""

    def __init__(self, relay: Relay) -> None:
        super().__init__(relay)
        self.is_broken = asyncio.Event()
        self._has_arrived: bool | None = None

    def break_next(self, *, has_arrived: bool) -> None:
        self.is_broken.clear()
        self._has_arrived = has_arrived

    def append(self, reply_id: ReplyId, placed: Placed, *, kept_seconds: int) -> asyncio.Future[None]:
        if self._has_arrived is None:
            return super().append(reply_id, placed, kept_seconds=kept_seconds)
        outcome = super().append(reply_id, placed, kept_seconds=kept_seconds) if self._has_arrived else None
        self._has_arrived = None
        return asyncio.ensure_future(self._fail(outcome))

    async def _fail(self, outcome: asyncio.Future[None] | None) -> None:
        if outcome is not None:
            await outcome
        self.is_broken.set()
        raise RelayUnavailable


def at(take: int, characters: int, step: Step, event: LiveEvent) -> Placed:
    return Placed(Position(take, characters, step), event)


async def written(channel: Channel, reply_id: ReplyId = REPLY) -> list[Placed]:
    await channel.drain()
    return await channel.read(reply_id, after=START)


async def test_pieces_are_gathered_when_they_come_faster_than_anyone_reads(channel: Channel) -> None:
    writer = LiveWriter(channel, REPLY, take=1000, kept_seconds=KEPT_SECONDS)
    writer.began(Began("scripted", "scripted", 1))
    for number in range(200):
        writer.write(f"{number} ")
    writer.counted(Usage(1, 2))
    await writer.end()
    whole = "".join(f"{number} " for number in range(200))
    assert writer.text == whole
    assert await written(channel) == [
        at(1000, 0, Step.STARTED, Began("scripted", "scripted", 1)),
        at(1000, 2, Step.TEXT, Text("0 ")),
        at(1000, len(whole), Step.TEXT, Text(whole[2:])),
        at(1000, len(whole), Step.USAGE, Counted(Usage(1, 2))),
        at(1000, len(whole), Step.END, Ended()),
    ]


async def test_piece_is_shown_soon_when_no_other_follows(channel: Channel) -> None:
    writer = LiveWriter(channel, REPLY, take=1000, kept_seconds=KEPT_SECONDS)
    writer.write("at once ")
    writer.write("and soon")

    async def is_shown() -> bool:
        return await channel.text_so_far(REPLY) == "at once and soon"

    await eventually(is_shown, seconds=5, what="both pieces are shown")


async def test_writer_stops_when_a_later_take_has_begun(channel: Channel) -> None:
    stale = LiveWriter(channel, REPLY, take=1000, kept_seconds=KEPT_SECONDS)
    stale.began(Began("scripted", "scripted", 1))
    await channel.drain()
    assert not stale.is_refused
    current = LiveWriter(channel, REPLY, take=2000, kept_seconds=KEPT_SECONDS)
    current.reset("retried")
    await channel.drain()
    stale.write("from the grave")
    await channel.drain()
    assert stale.is_refused
    assert not current.is_refused
    assert await channel.text_so_far(REPLY) == ""


async def test_writer_is_not_taken_for_an_earlier_one_when_two_take_over_before_the_first_wrote_anything(
    channel: Channel,
) -> None:
    writer = LiveWriter(channel, REPLY, take=1000, kept_seconds=KEPT_SECONDS)
    writer.began(Began("a", "m", 1))
    writer.write("text")
    for other in ("b", "c"):
        writer.switched("a", other, "provider_stream_cut")
        writer.began(Began(other, "m", 1))
    writer.counted(Usage(1, 2))
    await writer.end()
    shown = await written(channel)
    assert not writer.is_refused
    assert [placed.position.step for placed in shown] == [
        Step.STARTED,
        Step.TEXT,
        Step.TAKEN_OVER,
        Step.RESUMED,
        Step.END,
    ]


async def test_nothing_more_is_written_when_a_writer_was_stopped(channel: Channel) -> None:
    writer = LiveWriter(channel, REPLY, take=1000, kept_seconds=KEPT_SECONDS)
    writer.write("shown")
    writer.write(" kept back")
    writer.stop()
    assert [placed.event for placed in await written(channel)] == [Text("shown")]


async def test_text_is_whole_when_redis_is_gone(tmp_path: Path) -> None:
    async with open_relay(nobodys_url(tmp_path)) as relay:
        channel = Channel(relay)
        writer = LiveWriter(channel, REPLY, take=1000, kept_seconds=KEPT_SECONDS)
        writer.reset("retried")
        for piece in ("one ", "two ", "three"):
            writer.write(piece)
        writer.counted(Usage(1, 2))
        await writer.end()
        await channel.drain()
        assert writer.text == "one two three"
        assert not writer.is_refused


async def test_deltas_become_longer_when_redis_is_slow(relay: Relay) -> None:
    is_open = asyncio.Event()
    channel = SlowChannel(relay, is_open)
    writer = LiveWriter(channel, REPLY, take=1000, kept_seconds=KEPT_SECONDS)
    loop = asyncio.get_running_loop()
    written_until = loop.time() + 8 * gathering_seconds(1)
    while loop.time() < written_until:
        writer.write("so ")
        await asyncio.sleep(0.01)
    is_open.set()
    whole = writer.text

    async def is_shown() -> bool:
        return await channel.text_so_far(REPLY) == whole

    await eventually(is_shown, seconds=5, what="everything is shown")
    assert [placed.event for placed in await written(channel)] == [Text("so "), Text(whole[3:])]


@pytest.mark.parametrize("has_arrived", [False, True], ids=["lost", "only the answer lost"])
async def test_text_joins_on_when_redis_was_away_for_a_moment(relay: Relay, has_arrived: bool) -> None:
    channel = BrokenChannel(relay)
    writer = LiveWriter(channel, REPLY, take=1000, kept_seconds=KEPT_SECONDS)
    writer.write("one ")
    await channel.drain()
    for piece in ("two ", "three "):
        channel.break_next(has_arrived=has_arrived)
        writer.write(piece)
        await channel.is_broken.wait()
    writer.write("four ")

    async def is_shown() -> bool:
        return await channel.text_so_far(REPLY) == "one two three four "

    await eventually(is_shown, seconds=5, what="the text is whole")
    assert not writer.is_refused


async def test_lost_text_is_not_sent_again_when_another_take_begins(relay: Relay) -> None:
    channel = BrokenChannel(relay)
    writer = LiveWriter(channel, REPLY, take=1000, kept_seconds=KEPT_SECONDS)
    channel.break_next(has_arrived=False)
    writer.write("void")
    await channel.is_broken.wait()
    writer.begin_again("provider_stream_cut")
    writer.write("anew")

    async def is_shown() -> bool:
        return await channel.text_so_far(REPLY) == "anew"

    await eventually(is_shown, seconds=5, what="the new text is shown")


async def test_channel_counts_those_who_write_until_each_stops(channel: Channel) -> None:
    first = LiveWriter(channel, REPLY, take=1000, kept_seconds=KEPT_SECONDS)
    second = LiveWriter(channel, new_reply_id(), take=1000, kept_seconds=KEPT_SECONDS)
    assert channel.writers == 2
    first.stop()
    first.stop()
    assert channel.writers == 1
    second.stop()
    assert channel.writers == 0
