"""More work than workers: order in each conversation, nobody starved, places told, and a clear no in the end."""

import asyncio
from typing import Any

from tests.acceptance.expectations import expect_problem
from tests.fixtures.client import Client
from tests.fixtures.service import StartService
from tests.fixtures.waiting import eventually

_NO_LIMIT = "100000"


async def _all_ended(caller: Client, conversation_id: str, *, count: int, seconds: float) -> list[dict[str, Any]]:
    """The conversation's messages, once there are so many."""
    async with asyncio.timeout(seconds):
        while True:
            page = await caller.page(conversation_id, order="asc", limit="100")
            if len(page["data"]) >= count:
                found: list[dict[str, Any]] = page["data"]
                return found
            await asyncio.sleep(0.2)


async def test_each_conversation_is_answered_in_order_when_four_workers_share_the_work(
    start_service: StartService,
) -> None:
    async with start_service(workers=4, RATE_LIMIT_PER_MINUTE=_NO_LIMIT) as service:
        callers = [service.client() for _ in range(20)]

        async def write(caller: Client) -> list[str]:
            asked = [await caller.ask(f"/script rate=max say=answer-{number}") for number in range(20)]
            return [reply["id"] for reply in asked]

        asked = await asyncio.gather(*(write(caller) for caller in callers))
        for caller, reply_ids in zip(callers, asked, strict=True):
            messages = await _all_ended(caller, "conv-1", count=40, seconds=120)
            assert [message["seq"] for message in messages] == list(range(1, 41))
            answers = [message for message in messages if message["role"] == "assistant"]
            assert [answer["id"] for answer in answers] == reply_ids
            assert [answer["content"] for answer in answers] == [f"answer-{number}" for number in range(20)]


async def test_long_queue_of_one_conversation_starves_nobody(start_service: StartService) -> None:
    async with start_service(workers=1, MAX_IN_PROCESS="20", RATE_LIMIT_PER_MINUTE=_NO_LIMIT) as service:
        clock = asyncio.get_running_loop().time

        async def seconds_to_answer(caller: Client) -> float:
            began_at = clock()
            await caller.ended((await caller.ask("/script rate=max say=hello"))["id"], seconds=60)
            return clock() - began_at

        async def slowest() -> float:
            return sorted(await asyncio.gather(*(seconds_to_answer(service.client()) for _ in range(50))))[-3]

        await slowest()
        alone = await slowest()
        hot = service.client()
        last = {}
        for number in range(300):
            last = await hot.ask(f"/script tokens=10 rate=50 say={number}")
        assert last["position"] > 100
        beside = await slowest()
        assert beside < alone * 2 + 1, (alone, beside)
        assert (await hot.reply(last["id"]))["position"] > 50, "it still waits"


async def test_place_in_the_queue_is_told_and_the_queue_has_an_end(start_service: StartService) -> None:
    async with start_service(workers=1, MAX_IN_PROCESS="1", MAX_QUEUED="6", RATE_LIMIT_PER_MINUTE=_NO_LIMIT) as service:
        busy = service.client()
        running = await busy.ask("/script tokens=4000 rate=20")
        await busy.reply_when(running["id"], "running")
        others = [service.client() for _ in range(6)]
        asked = []
        for other in others[:3]:
            asked.append(await other.ask("/script rate=max say=hello"))

        async def is_known() -> bool:
            return bool((await others[2].reply(asked[2]["id"]))["position"] == 2)

        await eventually(is_known, seconds=20, what="it is known that no worker has room")
        for other in others[3:]:
            asked.append(await other.ask("/script rate=max say=hello"))
        assert [reply["position"] for reply in asked[3:]] == [3, 4, 5]
        places = [(await other.reply(reply["id"]))["position"] for other, reply in zip(others, asked, strict=True)]
        assert places == list(range(6))
        async with others[5].watch(asked[5]["id"]) as watch:
            event = await watch.next()
            assert event is not None
            assert (event.name, event.content) == ("reply.queued", {"position": 5})

        late = service.client()
        body = {"conversation_id": "conv-1", "content": "one too many", "reply": {}}
        refused = await late.post("/v1/messages", body, headers={"Idempotency-Key": "late"})
        expect_problem(refused, 503, "overloaded")
        assert int(refused.headers["Retry-After"]) > 0
        assert (await late.page())["data"] == []
        await late.store("only stored")
        repeated = await others[0].get(f"/v1/replies/{asked[0]['id']}")
        assert repeated.status == 200
        ready = await late.get("/health/ready")
        assert (ready.status, ready.json["status"], ready.json["queue"]["status"]) == (200, "overloaded", "full")
        assert "message_service_overloaded 1.0" in (await late.get("/metrics")).body.decode()

        assert (await busy.post(f"/v1/replies/{running['id']}/cancel")).status == 202
        for other, reply in zip(others, asked, strict=True):
            assert (await other.ended(reply["id"]))["status"] == "completed"

        async def is_ready() -> bool:
            return bool((await late.get("/health/ready")).json["status"] == "ready")

        await eventually(is_ready, seconds=20, what="there is room again")
        accepted = await late.post("/v1/messages", body, headers={"Idempotency-Key": "late"})
        assert accepted.status == 202, "the refusal was not kept as the key's result"
        again = await late.post("/v1/messages", body, headers={"Idempotency-Key": "late"})
        assert again.json == accepted.json


async def test_replay_is_answered_when_the_queue_is_full(start_service: StartService) -> None:
    async with start_service(workers=0, MAX_QUEUED="1") as service:
        caller = service.client()
        body = {"conversation_id": "conv-1", "content": "first", "reply": {}}
        first = await caller.post("/v1/messages", body, headers={"Idempotency-Key": "key"})
        assert first.status == 202
        expect_problem(await caller.post("/v1/messages", body), 503, "overloaded")
        again = await caller.post("/v1/messages", body, headers={"Idempotency-Key": "key"})
        assert (again.status, again.json) == (202, first.json)
        message_id = first.json["message"]["id"]
        expect_problem(await caller.post(f"/v1/messages/{message_id}/replies", {}), 503, "overloaded")
