"""Processes that are stopped, killed or paused in the middle of a reply: it is still answered once, and shown whole."""

import asyncio
import signal
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
import pytest_asyncio
import redis

from tests.fixtures.client import Client, StreamEvent, endings_of, names_of, text_of
from tests.fixtures.service import Service, StartService

_SECONDS_TO_END = 2.0
_SECONDS_TO_CANCEL = 8.0
"""Far less than the lease, far more than it takes: machines differ."""


@pytest_asyncio.fixture(scope="module")
async def sturdy(start_service: StartService) -> AsyncIterator[Service]:
    async with start_service(apis=2, workers=2, LEASE_SECONDS="1") as running:
        yield running


@pytest.fixture
def caller(sturdy: Service) -> Client:
    return sturdy.client()


def _script(seconds: float) -> str:
    """A reply that takes so long."""
    return f"/script tokens={int(seconds * 20)} rate=20\nOne word after the other, \N{GRINNING FACE} and one more. "


def _urls(service: Service) -> list[str]:
    return [process.url for process in service.apis]


async def _answered_once(service: Service, caller: Client, reply_id: str, watched: Sequence[list[StreamEvent]]) -> None:
    """One message, one end, and every watcher saw exactly that."""
    stored = await caller.ended(reply_id)
    assert stored["status"] == "completed"
    for events in watched:
        assert text_of(events) == stored["message"]["content"]
        assert endings_of(events) == ["reply.completed"]
        assert events[-1].content == stored
    with service.mongodb() as database:
        assert database["messages"].count_documents({"reply_to": stored["message_id"]}) == 1
        assert database["audit"].count_documents({"subject": reply_id, "action": "reply.ended"}) == 1
        assert database["usage"].count_documents({"reply_id": reply_id, "is_kept": True}) == 1
        conversation = database["conversations"].find_one({"user_id": caller.user_id})
        assert conversation is not None
        assert (conversation["reserved"], conversation["waiting_replies"], conversation["active_reply"]) == (0, 0, None)


async def _every_attempt_is_booked(service: Service, caller: Client, ended: dict[str, Any]) -> None:
    """The log tells of the attempt that nobody ended, and the ledger has what the log says, once."""
    died, kept = ended["attempt_log"]
    assert (died["provider"], died["model"], died["error"]) == ("scripted", "scripted", "worker_died")
    assert died["started_at"] < died["ended_at"]
    assert died["usage"]["is_estimated"]
    assert died["usage"]["output_tokens"] > 0
    assert died["cost_nano_usd"] == 0
    assert "error" not in kept
    with service.mongodb() as database:
        rows = list(database["usage"].find({"reply_id": ended["id"]}, sort=[("_id", 1)]))
    assert [row["_id"] for row in rows] == [f"{ended['id']} 1 1", f"{ended['id']} 2 1"]
    assert [row["output_tokens"] for row in rows] == [one["usage"]["output_tokens"] for one in (died, kept)]
    (used,) = (await caller.get("/v1/usage")).json["data"]
    assert used["attempts"] == 2
    assert used["estimated_tokens"] == died["usage"]["input_tokens"] + died["usage"]["output_tokens"]


async def test_api_ends_in_two_seconds_when_streams_are_open_and_they_go_on_elsewhere(
    sturdy: Service, caller: Client
) -> None:
    asked = await caller.ask(_script(4))
    waiting = await caller.ask("/script rate=max say=second")
    leaving = sturdy.apis[0]
    seen: list[list[StreamEvent]] = [[] for _ in range(20)]

    async def watch(number: int) -> None:
        reply = waiting if number % 5 == 4 else asked
        async with caller.watch(reply["id"]) as watch:
            seen[number] += await watch.take(2 if reply is asked else 1)
            watched.release()
            seen[number] += await watch.rest()

    watched = asyncio.Semaphore(0)
    watchers = [asyncio.create_task(watch(number)) for number in range(20)]
    for _ in watchers:
        await watched.acquire()
    sturdy.retire(leaving)
    leaving.signal(signal.SIGTERM)
    assert await leaving.exited(seconds=_SECONDS_TO_END) == 0
    await asyncio.gather(*watchers)
    assert all(not endings_of(events) for events in seen)
    elsewhere = sturdy.apis[0].url
    whole = await asyncio.gather(
        *(
            caller.follow((waiting if number % 5 == 4 else asked)["id"], elsewhere, seen=events)
            for number, events in enumerate(seen)
        )
    )
    caller = caller.at(elsewhere)
    await caller.ended(waiting["id"])
    await _answered_once(sturdy, caller, asked["id"], [whole[n] for n in range(20) if n % 5 != 4])
    await _answered_once(sturdy, caller, waiting["id"], [whole[n] for n in range(20) if n % 5 == 4])
    assert all("reply.reset" not in names_of(events) for events in whole)
    await sturdy.start(apis=1)


async def test_stream_goes_on_when_all_api_processes_were_killed_and_started_anew(
    sturdy: Service, caller: Client
) -> None:
    asked = await caller.ask(_script(6))
    async with caller.watch(asked["id"]) as watch:
        seen = await watch.take(5)
    for process in list(sturdy.apis):
        sturdy.retire(process)
        process.kill()
    await sturdy.start(apis=2)
    caller = caller.at(sturdy.apis[0].url)
    watched = await asyncio.gather(
        *(caller.follow(asked["id"], url, seen=part) for url in _urls(sturdy) for part in (seen, seen[:1], []))
    )
    await _answered_once(sturdy, caller, asked["id"], watched)
    assert all("reply.reset" not in names_of(events) for events in watched)
    # The positions still mean the same after the end.
    late = [await caller.follow(asked["id"], url, seen=seen) for url in _urls(sturdy)]
    await _answered_once(sturdy, caller, asked["id"], late)


async def test_text_is_whole_when_redis_forgets_everything_in_between(sturdy: Service, caller: Client) -> None:
    asked = await caller.ask(_script(3))
    behind = await caller.ask("/script rate=max say=second")
    early = asyncio.create_task(caller.follow(asked["id"]))
    async with caller.watch(asked["id"]) as watch:
        seen = await watch.take(6)
    with redis.Redis.from_url(sturdy.redis_url) as client:
        client.flushall()
    elsewhere = sturdy.apis[1].url
    watched = await asyncio.gather(
        early, caller.follow(asked["id"], elsewhere, seen=seen), caller.follow(asked["id"], elsewhere)
    )
    await caller.ended(behind["id"])
    await _answered_once(sturdy, caller, asked["id"], watched)
    assert (await caller.reply(asked["id"]))["attempts"] == 1
    # And what is asked for afterwards is streamed as before.
    later = await caller.ask(_script(1))
    events = await caller.watch_whole(later["id"])
    assert names_of(events).count("reply.delta") > 3


async def test_reply_begins_anew_when_its_worker_is_killed(sturdy: Service, caller: Client) -> None:
    asked = await caller.ask(_script(2))
    following = [asyncio.create_task(caller.follow(asked["id"], url)) for url in _urls(sturdy)]
    async with caller.watch(asked["id"]) as watch:
        seen = await watch.until("reply.started")
        seen += await watch.take(4)
    victim = sturdy.worker_of(asked["id"])
    sturdy.retire(victim)
    victim.kill()
    watched = [*await asyncio.gather(*following), await caller.follow(asked["id"], seen=seen)]
    await _answered_once(sturdy, caller, asked["id"], watched)
    ended = await caller.reply(asked["id"])
    assert ended["attempts"] == 2
    await _every_attempt_is_booked(sturdy, caller, ended)
    for events in watched:
        names = names_of(events)
        assert names.count("reply.reset") == 1
        at = names.index("reply.reset")
        assert events[at].content == {"reason": "retried"}
        assert "reply.delta" in names[:at]
        assert events[at + 1].content == {"provider": "scripted", "model": "scripted", "attempt": 2}
    assert "reply.reset" not in names_of(await caller.watch_whole(asked["id"]))
    await sturdy.start(workers=1)


async def test_nothing_is_answered_twice_when_a_paused_worker_comes_back(sturdy: Service, caller: Client) -> None:
    asked = await caller.ask(_script(2))
    async with caller.watch(asked["id"]) as watch:
        seen = await watch.until("reply.delta")
        sleeper = sturdy.worker_of(asked["id"])
        sleeper.signal(signal.SIGSTOP)
        try:
            seen += await watch.until("reply.started")
        finally:
            sleeper.signal(signal.SIGCONT)
        seen += await watch.rest()
    await sleeper.require(lambda: "reply.claim_lost" in sleeper.log())
    await _answered_once(sturdy, caller, asked["id"], [seen])
    assert names_of(seen).count("reply.reset") == 1
    ended = await caller.reply(asked["id"])
    assert ended["attempts"] == 2
    await _every_attempt_is_booked(sturdy, caller, ended)
    # It works on.
    for _ in range(4):
        assert (await caller.ended((await caller.ask("/script rate=max say=hello"))["id"]))["status"] == "completed"


async def test_worker_finishes_what_it_runs_when_it_is_stopped(sturdy: Service, caller: Client) -> None:
    asked = await caller.ask(_script(2))
    following = asyncio.create_task(caller.follow(asked["id"]))
    await caller.reply_when(asked["id"], "running")
    leaving = sturdy.worker_of(asked["id"])
    sturdy.retire(leaving)
    leaving.signal(signal.SIGTERM)
    assert await leaving.exited(seconds=8) == 0
    events = await following
    await _answered_once(sturdy, caller, asked["id"], [events])
    assert "reply.reset" not in names_of(events)
    assert (await caller.reply(asked["id"]))["attempts"] == 1
    assert "worker.stopped" in leaving.log()


async def test_worker_hands_over_what_it_cannot_finish_when_it_is_stopped(sturdy: Service, caller: Client) -> None:
    # One worker is left. The next one has no time to drain, and takes the reply because the other is paused.
    other = sturdy.workers[0]
    await sturdy.start(workers=1, DRAIN_SECONDS="0")
    leaving = sturdy.workers[1]
    other.signal(signal.SIGSTOP)
    try:
        asked = await caller.ask(_script(3))
        following = asyncio.create_task(caller.follow(asked["id"]))
        async with caller.watch(asked["id"]) as watch:
            await watch.until("reply.delta")
        assert sturdy.worker_of(asked["id"]) is leaving
    finally:
        other.signal(signal.SIGCONT)
    sturdy.retire(leaving)
    leaving.signal(signal.SIGTERM)
    assert await leaving.exited(seconds=5) == 0
    events = await following
    await _answered_once(sturdy, caller, asked["id"], [events])
    assert names_of(events).count("reply.reset") == 1
    # It was nobody's failure, so it counts as no attempt.
    assert (await caller.reply(asked["id"]))["attempts"] == 1


async def test_reply_is_cancelled_when_its_worker_died_before_it_heard(sturdy: Service, caller: Client) -> None:
    asked = await caller.ask(_script(30))
    async with caller.watch(asked["id"]) as watch:
        seen = await watch.until("reply.started")
        seen += await watch.take(4)
        victim = sturdy.worker_of(asked["id"])
        sturdy.retire(victim)
        victim.kill()
        assert (await caller.post(f"/v1/replies/{asked['id']}/cancel")).status == 202
        await sturdy.start(workers=1)
        seen += await watch.rest()
    ended = await caller.reply(asked["id"])
    assert (ended["status"], ended["finish_reason"]) == ("cancelled", "cancelled")
    assert endings_of(seen) == ["reply.cancelled"]
    # What its worker had shown by then is kept.
    assert ended["message"]["content"] == text_of(seen)
    assert len(ended["message"]["content"]) >= len("One word after")


@pytest.mark.parametrize("fate", [signal.SIGKILL, signal.SIGSTOP])
async def test_reply_is_cancelled_within_seconds_when_its_worker_cannot_hear(
    start_service: StartService, fate: signal.Signals
) -> None:
    async with start_service(apis=2, workers=2, LEASE_SECONDS="60") as service:
        caller = service.client()
        asked = await caller.ask(_script(30))
        behind = await caller.ask("/script rate=max say=second")
        async with caller.watch(asked["id"]) as watch:
            seen = await watch.until("reply.started")
            seen += await watch.take(4)
            deaf = service.worker_of(asked["id"])
            service.retire(deaf)
            deaf.signal(fate)
            elsewhere = caller.at(service.apis[1].url)
            assert (await elsewhere.post(f"/v1/replies/{asked['id']}/cancel")).status == 202
            async with asyncio.timeout(_SECONDS_TO_CANCEL):
                seen += await watch.rest()
        ended = await caller.reply(asked["id"])
        assert ended["status"] == "cancelled"
        assert ended["message"]["content"] == text_of(seen)
        assert endings_of(seen) == ["reply.cancelled"]
        assert (await caller.ended(behind["id"]))["status"] == "completed"
        if fate is signal.SIGSTOP:
            deaf.signal(signal.SIGCONT)
            await deaf.require(lambda: "reply.claim_lost" in deaf.log())
            assert await caller.reply(asked["id"]) == ended
