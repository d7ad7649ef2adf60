"""Following replies: everyone gets everything after the position they had, once and in order."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from redis import Redis

from message_service.errors import RelayUnavailable
from message_service.ids import ReplyId, new_reply_id
from message_service.live import follower as follower_module
from message_service.live.channel import LANES, Channel, channel_key, encode, lane_of
from message_service.live.event import START, Placed, Position, Step, Text
from message_service.live.follower import Follower, Subscription
from message_service.relay import Relay, open_relay
from tests.fixtures.redis_faults import nobodys_url, refusing_writes

KEPT_SECONDS = 60


@pytest.fixture
def channel(relay: Relay) -> Channel:
    return Channel(relay)


@pytest_asyncio.fixture
async def follower(relay: Relay, channel: Channel) -> AsyncIterator[Follower]:
    following = Follower(relay, channel)
    yield following
    await following.close()


def pieces(count: int, *, start: int = 0, take: int = 1000) -> list[Placed]:
    """One character each."""
    return [Placed(Position(take, number + 1, Step.TEXT), Text("x")) for number in range(start, start + count)]


async def append(channel: Channel, reply_id: ReplyId, events: list[Placed]) -> None:
    await asyncio.gather(*(channel.append(reply_id, event, kept_seconds=KEPT_SECONDS) for event in events))


async def take(subscription: Subscription, count: int) -> list[Placed]:
    """The next `count` events at least."""
    arrived: list[Placed] = []
    async with asyncio.timeout(10):
        while len(arrived) < count:
            arrived += await subscription.next(wait_seconds=5)
    return arrived


async def test_events_come_as_they_are_written(follower: Follower, channel: Channel) -> None:
    reply_id = new_reply_id()
    async with follower.subscribe(reply_id, after=START) as subscription:
        for event in pieces(5):
            await append(channel, reply_id, [event])
            assert await take(subscription, 1) == [event]


@pytest.mark.parametrize("seen", range(6))
async def test_rest_comes_when_watching_resumes_after_any_event(
    follower: Follower, channel: Channel, seen: int
) -> None:
    reply_id, events = new_reply_id(), pieces(8)
    await append(channel, reply_id, events[:5])
    async with follower.subscribe(reply_id, after=events[seen - 1].position if seen else START) as subscription:
        arrived = await take(subscription, 5 - seen)
        await append(channel, reply_id, events[5:])
        arrived += await take(subscription, 8 - seen - len(arrived))
        assert arrived == events[seen:]


async def test_each_gets_what_it_missed_when_two_watch_from_different_positions(
    follower: Follower, channel: Channel
) -> None:
    reply_id, events = new_reply_id(), pieces(12)
    await append(channel, reply_id, events[:6])
    async with follower.subscribe(reply_id, after=events[3].position) as ahead:
        assert await take(ahead, 2) == events[4:6]
        async with (
            follower.subscribe(reply_id, after=START) as from_the_start,
            follower.subscribe(reply_id, after=events[4].position) as between,
            follower.subscribe(reply_id, after=events[8].position) as further,
        ):
            await append(channel, reply_id, events[6:])
            assert await take(ahead, 6) == events[6:]
            assert await take(from_the_start, 12) == events
            assert await take(between, 7) == events[5:]
            assert await take(further, 3) == events[9:]


async def test_nobody_gets_anothers_events_when_many_replies_are_watched(follower: Follower, channel: Channel) -> None:
    ids = [ReplyId(f"msg_{number}") for number in range(40)]
    assert len({lane_of(reply_id) for reply_id in ids}) == LANES

    async def watch(reply_id: ReplyId, count: int) -> list[Placed]:
        async with follower.subscribe(reply_id, after=START) as subscription:
            return await take(subscription, count)

    watching = [asyncio.create_task(watch(reply_id, number + 1)) for number, reply_id in enumerate(ids)]
    await asyncio.gather(*(append(channel, reply_id, pieces(number + 1)) for number, reply_id in enumerate(ids)))
    assert await asyncio.gather(*watching) == [pieces(number + 1) for number in range(40)]


async def test_late_watcher_is_served_at_once_when_the_reader_is_waiting(
    follower: Follower, channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower_module, "BLOCK_SECONDS", 2.5)
    quiet = new_reply_id()
    late = next(other for other in iter(new_reply_id, None) if lane_of(other) == lane_of(quiet))
    await append(channel, late, pieces(1))
    async with follower.subscribe(quiet, after=START) as waiting:
        await waiting.next(wait_seconds=0.1)
        loop = asyncio.get_running_loop()
        began_at = loop.time()
        async with follower.subscribe(late, after=START) as subscription:
            assert await take(subscription, 1) == pieces(1)
        assert loop.time() - began_at < 2


async def test_nothing_is_missing_when_a_page_is_reloaded_and_an_event_comes_in_between(
    follower: Follower, channel: Channel, redis_url: str
) -> None:
    reply_id, events = new_reply_id(), pieces(6)
    await append(channel, reply_id, events[:4])
    async with follower.subscribe(reply_id, after=START) as first:
        assert await take(first, 4) == events[:4]
        await first.next(wait_seconds=0.05)  # the reader waits for what follows the fourth
    # Another process appends while nothing of this one can run: the reader's answer is on its way.
    with Redis.from_url(redis_url) as elsewhere:
        elsewhere.xadd(channel_key(reply_id), encode(events[4].event), id=str(events[4].position))
    async with follower.subscribe(reply_id, after=START) as second:
        arrived = await take(second, 5)
        await append(channel, reply_id, events[5:])
        arrived += await take(second, 1)
        assert arrived == events


async def test_nothing_comes_twice_when_watchers_come_and_go(follower: Follower, channel: Channel) -> None:
    reply_id, events = new_reply_id(), pieces(60)
    is_over = asyncio.Event()

    async def write() -> None:
        for event in events:
            await append(channel, reply_id, [event])
        is_over.set()

    async def come_and_go() -> list[Placed]:
        seen: list[Placed] = []
        while len(seen) < len(events):
            after = seen[-1].position if seen else START
            async with follower.subscribe(reply_id, after=after) as subscription:
                seen += await subscription.next(wait_seconds=2)
        return seen

    async with asyncio.timeout(20):
        watchers = [asyncio.create_task(come_and_go()) for _ in range(4)]
        await write()
        for watcher in watchers:
            assert await watcher == events


async def test_wait_ends_when_a_watcher_leaves(follower: Follower) -> None:
    async with follower.subscribe(new_reply_id(), after=START) as subscription:
        waiting = asyncio.create_task(subscription.next(wait_seconds=30))
        await asyncio.sleep(0)
        subscription.close()
        assert await waiting == []
        assert subscription.is_closed


async def test_every_wait_ends_when_the_process_goes_away(follower: Follower) -> None:
    async with (
        follower.subscribe(new_reply_id(), after=START) as one,
        follower.subscribe(new_reply_id(), after=START) as other,
    ):
        waiting = [asyncio.create_task(each.next(wait_seconds=30)) for each in (one, other)]
        await asyncio.sleep(0)
        follower.send_away()
        assert await asyncio.gather(*waiting) == [[], []]
        async with follower.subscribe(new_reply_id(), after=START) as too_late:
            assert too_late.is_closed


async def test_silence_is_told_when_nothing_happens(follower: Follower) -> None:
    async with follower.subscribe(new_reply_id(), after=START) as subscription:
        assert await subscription.next(wait_seconds=0.05) == []
        assert not subscription.is_closed


async def test_following_goes_on_when_redis_forgot_everything(
    follower: Follower, channel: Channel, relay: Relay
) -> None:
    reply_id, events = new_reply_id(), pieces(6)
    async with follower.subscribe(reply_id, after=START) as subscription:
        await append(channel, reply_id, events[:3])
        assert await take(subscription, 3) == events[:3]
        await relay.quick.flushdb()
        await append(channel, reply_id, events[3:])
        assert await take(subscription, 3) == events[3:]


async def test_watcher_only_hears_silence_when_redis_is_gone(tmp_path: Path) -> None:
    async with open_relay(nobodys_url(tmp_path)) as relay:
        follower = Follower(relay, Channel(relay))
        async with follower.subscribe(new_reply_id(), after=START) as subscription:
            assert await subscription.next(wait_seconds=0.05) == []
        await follower.close()


async def test_watcher_catches_up_later_when_redis_was_away_for_a_moment(
    follower: Follower, channel: Channel, relay: Relay
) -> None:
    reply_id, events = new_reply_id(), pieces(5)
    await append(channel, reply_id, events)
    async with follower.subscribe(reply_id, after=START) as first:
        assert await take(first, 5) == events
        async with follower.subscribe(reply_id, after=START) as second:
            with pytest.raises(RelayUnavailable), relay.reaching():
                raise ConnectionResetError
            with pytest.raises(RelayUnavailable):
                await second.next(wait_seconds=0.01)
            await relay.ping()
            assert await take(second, 5) == events


async def test_watcher_that_missed_something_does_not_ask_without_pause_when_redis_is_gone(
    follower: Follower, channel: Channel, relay: Relay
) -> None:
    reply_id, events = new_reply_id(), pieces(5)
    await append(channel, reply_id, events)
    clock = asyncio.get_running_loop().time
    async with follower.subscribe(reply_id, after=START) as first:
        assert await take(first, 5) == events
        async with follower.subscribe(reply_id, after=START) as second:
            with pytest.raises(RelayUnavailable), relay.reaching():
                raise ConnectionResetError
            began_at = clock()
            with pytest.raises(RelayUnavailable):
                await second.next(wait_seconds=0.2)
            assert clock() - began_at >= 0.19
            asking = asyncio.create_task(second.next(wait_seconds=60))
            await asyncio.sleep(0)
            second.close()
            with pytest.raises(RelayUnavailable):
                await asyncio.wait_for(asking, 10)


async def test_further_watcher_joins_when_redis_refuses_to_write(
    relay: Relay, channel: Channel, follower: Follower
) -> None:
    first = new_reply_id()
    beside = next(other for other in iter(new_reply_id, None) if lane_of(other) == lane_of(first))
    async with follower.subscribe(first, after=START) as watching:
        assert await watching.next(wait_seconds=0.2) == []
        async with refusing_writes(relay), follower.subscribe(beside, after=START) as joined:
            assert await joined.next(wait_seconds=0.1) == []
        async with follower.subscribe(beside, after=START) as joined:
            await append(channel, beside, pieces(1))
            assert await joined.next(wait_seconds=10) == pieces(1)
