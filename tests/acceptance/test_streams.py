"""Watching a reply: from any position, on any process, while it runs and long after, byte for byte."""

import asyncio
import secrets
from typing import Any

import pytest
import pytest_asyncio

from message_service.live.event import Position, Step
from tests.acceptance.expectations import expect_problem
from tests.fixtures.client import Client, StreamEvent, endings_of, names_of, text_of
from tests.fixtures.service import Service

_TEXT = (
    "Straße \N{GRINNING FACE}\N{ZERO WIDTH JOINER} of one,\n\n  two and\tthree – "
    "e\u0301nd \u0645\u0631\u062d\u0628\u0627. "
)
_WORDS = 36
_SCRIPT = f"/script tokens={_WORDS} rate=18\n{_TEXT}"


@pytest.fixture
def caller(service: Service) -> Client:
    return service.client()


@pytest_asyncio.fixture(scope="module")
async def told(service: Service) -> tuple[Client, dict[str, Any]]:
    """A reply that has ended, and its owner."""
    owner = service.client()
    asked = await owner.ask(f"/script tokens={_WORDS} rate=max\n{_TEXT}")
    return owner, await owner.ended(asked["id"])


async def _whole(caller: Client, reply_id: str, events: list[StreamEvent]) -> None:
    """These events, in this order, show exactly what is stored and one end."""
    stored = await caller.ended(reply_id)
    assert text_of(events) == stored["message"]["content"]
    assert endings_of(events) == ["reply.completed"]
    assert events[-1].name == "reply.completed"
    assert events[-1].content == stored
    ids = [Position.parse(event.id) for event in events]
    assert ids == sorted(set(ids))


async def test_events_tell_the_whole_story_when_watched_from_the_start(caller: Client) -> None:
    ahead = await caller.ask("/script first=600 say=never")
    asked = await caller.ask(_SCRIPT, reply={"instructions": "You are Ada."})
    async with caller.watch(asked["id"]) as watch:
        assert watch.status == 200
        assert watch.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert watch.headers["Cache-Control"] == "no-store"
        assert watch.headers["X-Accel-Buffering"] == "no"
        assert watch.headers["X-Request-ID"].startswith("req_")
        waiting = await watch.next()
        assert waiting is not None
        await caller.post(f"/v1/replies/{ahead['id']}/cancel")
        events = [waiting, *await watch.rest()]
        assert watch.has_ended
    names = names_of(events)
    assert names[:2] == ["reply.queued", "reply.started"]
    assert names[-2:] == ["usage", "reply.completed"]
    assert set(names[2:-2]) == {"reply.delta"}
    assert len(names) > 15
    assert events[0].content == {"position": 1}
    assert events[1].content == {"provider": "scripted", "model": "scripted", "attempt": 1}
    assert all(set(event.content) == {"text"} and event.content["text"] for event in events[2:-2])
    await _whole(caller, asked["id"], events)
    assert events[-2].content == events[-1].content["usage"]


async def test_text_is_whole_when_a_watcher_is_cut_after_any_event_and_resumes_elsewhere(
    service: Service, caller: Client
) -> None:
    asked = await caller.ask(_SCRIPT)
    elsewhere = caller.at(service.apis[1].url)

    async def cut_after(count: int) -> tuple[list[StreamEvent], bool]:
        first, second = (caller, elsewhere) if count % 2 else (elsewhere, caller)
        async with first.watch(asked["id"]) as watch:
            seen = await watch.take(count)
            if watch.has_ended or seen[-1].name == "reply.completed":
                return seen, False
        by_header, by_query = (seen[-1].id, None) if count % 4 < 2 else (None, seen[-1].id)
        return [*seen, *await second.watch_whole(asked["id"], last_event_id=by_header, after=by_query)], True

    watched = await asyncio.gather(*(cut_after(count) for count in range(1, _WORDS + 6)))
    for events, _ in watched:
        await _whole(caller, asked["id"], events)
    # Deltas are gathered, so how many there are differs; most of the cuts must have been real ones.
    assert sum(was_cut for _, was_cut in watched) > 15


async def test_text_is_whole_when_a_watcher_is_cut_everywhere_once(service: Service, caller: Client) -> None:
    asked = await caller.ask(_SCRIPT)
    events: list[StreamEvent] = []
    while not events or events[-1].name != "reply.completed":
        somewhere = caller.at(service.apis[len(events) % 2].url)
        async with somewhere.watch(asked["id"], last_event_id=events[-1].id if events else None) as watch:
            events += await watch.take(1)
    await _whole(caller, asked["id"], events)


async def test_text_is_whole_when_resumed_between_events_of_a_running_reply(service: Service, caller: Client) -> None:
    asked = await caller.ask(_SCRIPT)
    elsewhere = caller.at(service.apis[1].url)

    async def resume_inside(delta_number: int) -> str:
        async with caller.watch(asked["id"]) as watch:
            seen = await watch.until("reply.started")
            seen += await watch.take(delta_number)
        place = Position.parse(seen[-1].id)
        kept = text_of(seen)[: place.characters - delta_number % 3 - 1]
        between = Position(place.take, len(kept), Step.TEXT)
        return kept + text_of(await elsewhere.watch_whole(asked["id"], last_event_id=str(between)))

    texts = await asyncio.gather(*(resume_inside(number) for number in range(1, 13)))
    stored = (await caller.ended(asked["id"]))["message"]["content"]
    assert texts == [stored] * 12


async def test_text_is_whole_when_resumed_at_any_character_of_an_ended_reply(
    service: Service, told: tuple[Client, dict[str, Any]]
) -> None:
    owner, ended = told
    text = ended["message"]["content"]
    last = (await owner.watch_whole(ended["id"]))[-1]
    take = Position.parse(last.id).take

    async def resume_at(characters: int, step: Step) -> None:
        place = str(Position(take, characters, step))
        somewhere = owner.at(service.apis[characters % 2].url)
        events = await somewhere.watch_whole(ended["id"], after=place)
        assert text[:characters] + text_of(events) == text, place
        assert endings_of(events) == ["reply.completed"]
        assert events[-1] == last
        assert "reply.reset" not in names_of(events)

    for characters in range(len(text) + 1):
        await resume_at(characters, Step.TEXT)
    for step in (Step.RESET, Step.SWITCHED, Step.STARTED):
        await resume_at(0, step)
    await resume_at(len(text), Step.USAGE)


async def test_story_is_the_same_when_it_is_watched_after_its_end(
    service: Service, told: tuple[Client, dict[str, Any]]
) -> None:
    owner, ended = told
    for process in service.apis:
        events = await owner.at(process.url).watch_whole(ended["id"])
        assert names_of(events) == ["reply.started", "reply.delta", "usage", "reply.completed"]
        await _whole(owner, ended["id"], events)
        for number, event in enumerate(events[:-1]):
            assert await owner.at(process.url).watch_whole(ended["id"], after=event.id) == events[number + 1 :]


async def test_nothing_follows_when_the_end_was_seen(service: Service, told: tuple[Client, dict[str, Any]]) -> None:
    owner, ended = told
    end = (await owner.watch_whole(ended["id"]))[-1].id
    for process in service.apis:
        for headers, query in (({"Last-Event-ID": end}, ""), ({}, f"?after={end}")):
            answer = await owner.at(process.url).get(f"{ended['stream_url']}{query}", headers=headers)
            assert (answer.status, answer.body) == (204, b"")


@pytest.mark.parametrize(
    "place", ["garbage", "1", "1-", "-1-1", "1-1-1", "1.5-2", "01-1", "1-01", "\u0661-1", "9" * 16 + "-1"]
)
async def test_position_is_refused_when_no_stream_issues_such(
    caller: Client, told: tuple[Client, dict[str, Any]], place: str
) -> None:
    owner, ended = told
    running = await owner.ask("/script first=600 say=never", f"conv-{secrets.token_hex(3)}")
    for reply in (ended, running):
        path = f"/v1/replies/{reply['id']}/stream"
        problem = expect_problem(await owner.get(path, params={"after": place}), 400, "invalid_cursor", instance=path)
        assert "position" in problem["detail"]
    by_header = await owner.get(ended["stream_url"], headers={"Last-Event-ID": place.encode().decode("latin-1")})
    expect_problem(by_header, 400, "invalid_cursor")
    await owner.post(f"/v1/replies/{running['id']}/cancel")


async def test_position_is_refused_when_the_reply_never_came_so_far(told: tuple[Client, dict[str, Any]]) -> None:
    owner, ended = told
    end = Position.parse((await owner.watch_whole(ended["id"]))[-1].id)
    later = Position(end.take + 1, 0, Step.STARTED)
    expect_problem(await owner.get(ended["stream_url"], params={"after": str(later)}), 400, "invalid_cursor")


async def test_header_counts_when_it_comes_with_the_parameter(told: tuple[Client, dict[str, Any]]) -> None:
    owner, ended = told
    events = await owner.watch_whole(ended["id"])
    async with owner.watch(ended["id"], after=events[0].id, last_event_id=events[2].id) as watch:
        assert names_of(await watch.rest()) == ["reply.completed"]


async def test_nothing_changes_when_all_watchers_leave(service: Service, caller: Client) -> None:
    asked = await caller.ask(_SCRIPT)
    for process in (*service.apis, *service.apis):
        async with caller.at(process.url).watch(asked["id"]) as watch:
            await watch.until("reply.delta")
    ended = await caller.ended(asked["id"])
    assert (ended["status"], ended["attempts"], ended["finish_reason"]) == ("completed", 1, "stop")
    await _whole(caller, asked["id"], await caller.watch_whole(asked["id"]))


async def test_every_watcher_sees_the_same_when_there_are_many(service: Service, caller: Client) -> None:
    asked = await caller.ask(_SCRIPT)
    watched = await asyncio.gather(
        *(caller.at(service.apis[number % 2].url).watch_whole(asked["id"]) for number in range(60))
    )
    for events in watched:
        await _whole(caller, asked["id"], events)


async def test_running_reply_stops_within_a_second_when_cancelled_on_another_process(
    service: Service, caller: Client
) -> None:
    asked = await caller.ask(f"/script tokens=2000 rate=20\n{_TEXT}")
    async with caller.watch(asked["id"]) as watch:
        events = await watch.until("reply.delta")
        clock = asyncio.get_running_loop().time
        asked_at = clock()
        answer = await caller.at(service.apis[1].url).post(f"/v1/replies/{asked['id']}/cancel")
        assert answer.status == 202
        assert answer.json["status"] in ("running", "cancelled")
        events += await watch.rest()
        assert clock() - asked_at < 1.0
    ended = await caller.reply(asked["id"])
    assert (ended["status"], ended["finish_reason"]) == ("cancelled", "cancelled")
    assert ended["message"]["finish_reason"] == "cancelled"
    assert ended["message"]["content"] == text_of(events) != ""
    assert endings_of(events) == ["reply.cancelled"]
    assert events[-1].content == ended
    assert ended["usage"]["is_estimated"] is True
    assert (await caller.store("Go on."))["parent_id"] == asked["id"]
