"""Many at once: watchers that all come back when their process is gone, and writers who all mean one conversation."""

import asyncio
from time import perf_counter

from tests.fixtures.client import Client, endings_of, names_of, text_of
from tests.fixtures.service import StartService

_WATCHERS = 300
_WRITERS = 50
_POSTS_EACH = 6


async def test_every_watcher_sees_the_whole_text_when_all_come_back_at_once(start_service: StartService) -> None:
    async with start_service(apis=2, workers=1) as service:
        caller = service.client()
        asked = await caller.ask("/script tokens=240 rate=20\nOne word after the other. ")
        await caller.reply_when(asked["id"], "running")
        leaving, staying = service.apis
        following = [
            asyncio.create_task(caller.follow(asked["id"], leaving.url, staying.url)) for _ in range(_WATCHERS)
        ]
        async with caller.watch(asked["id"]) as watch:
            await watch.take(20)
        service.retire(leaving)
        leaving.kill()
        watched = await asyncio.gather(*following)
        ended = await caller.at(staying.url).ended(asked["id"])
    assert (ended["status"], ended["attempts"]) == ("completed", 1)
    for events in watched:
        assert text_of(events) == ended["message"]["content"]
        assert endings_of(events) == ["reply.completed"]
        assert "reply.reset" not in names_of(events)


async def test_conversation_is_in_order_and_others_get_through_when_fifty_write_into_it(
    start_service: StartService,
) -> None:
    async with start_service(apis=2, workers=1, RATE_LIMIT_PER_MINUTE="100000") as service:
        crowd = [service.client("the-crowd", api=number % 2) for number in range(_WRITERS)]
        others = [service.client(api=number % 2) for number in range(8)]
        waited: dict[str, list[float]] = {"alone": [], "beside": []}

        async def write(client: Client, number: int) -> list[tuple[int, str]]:
            stored = [await client.store(f"{number} {turn}") for turn in range(_POSTS_EACH)]
            return [(message["seq"], message["id"]) for message in stored]

        async def write_beside(client: Client, when: str) -> None:
            for turn in range(20):
                began_at = perf_counter()
                await client.store(f"beside {turn}")
                waited[when].append(perf_counter() - began_at)

        await asyncio.gather(*(write_beside(client, "alone") for client in others))
        writing = [asyncio.create_task(write(client, number)) for number, client in enumerate(crowd)]
        await asyncio.gather(*(write_beside(client, "beside") for client in others))
        written = await asyncio.gather(*writing)
        seconds = {when: sorted(found)[int(0.99 * len(found))] for when, found in waited.items()}
        print(f"p99 of others: {seconds['alone']:.3f} s alone, {seconds['beside']:.3f} s beside")  # noqa: T201  # figures
        count = _WRITERS * _POSTS_EACH
        stored = sorted(place for places in written for place in places)
        assert [seq for seq, _ in stored] == list(range(1, count + 1))
        for places in written:
            assert places == sorted(places), "what one writer wrote later stands later"
        listed: list[str] = []
        page = await crowd[0].page(order="asc", limit="100")
        listed += [message["id"] for message in page["data"]]
        while page["has_more"]:
            page = await crowd[0].page(order="asc", limit="100", after=page["next_cursor"])
            listed += [message["id"] for message in page["data"]]
        assert listed == [message_id for _, message_id in stored]
        for client in others:
            assert [message["seq"] for message in (await client.page(limit="100"))["data"]] == list(range(40, 0, -1))
