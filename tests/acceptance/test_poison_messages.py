"""A message that kills every worker which takes it ends in one visible failure, and holds nobody up for good."""

import asyncio
import signal

from tests.fixtures.deadly_worker import DEADLY
from tests.fixtures.service import Service, StartService

_ATTEMPTS = 2
_DEFAULT_ATTEMPTS = 5


async def _supervise(service: Service, deaths: list[str]) -> None:
    """Replace each worker that dies, as any supervisor does. Ends by being cancelled."""
    while True:
        for worker in list(service.workers):
            if worker.child.poll() is not None:
                assert worker.child.returncode == -signal.SIGKILL
                deaths.append(worker.name)
                service.retire(worker)
                service.start_deadly_worker()
        await asyncio.sleep(0.02)


async def test_message_fails_visibly_and_the_next_is_answered_when_it_kills_its_workers(
    start_service: StartService,
) -> None:
    async with start_service(workers=0, LEASE_SECONDS="1", MAX_ATTEMPTS=str(_ATTEMPTS)) as service:
        caller = service.client()
        poison = await caller.ask(f"This is {DEADLY}.")
        service.start_deadly_worker()
        deaths: list[str] = []
        supervising = asyncio.create_task(_supervise(service, deaths))
        try:
            ended = await caller.ended(poison["id"])
            assert (ended["status"], ended["error"]["code"]) == ("failed", "too_many_attempts")
            answered = await caller.ended((await caller.ask("/script say=hello"))["id"])
        finally:
            supervising.cancel()
        assert len(deaths) == _ATTEMPTS
        assert answered["status"] == "completed"
        with service.mongodb() as database:
            assert database["audit"].count_documents({"subject": poison["id"], "action": "reply.ended"}) == 1
            letter = database["dead_letters"].find_one({"_id": poison["id"]})
        assert letter is not None
        # The last claim made no attempt: it ended the reply.
        assert (letter["error"]["code"], letter["attempts"]) == ("too_many_attempts", _ATTEMPTS + 1)


async def test_messages_beside_it_are_answered_when_one_kills_all_its_workers(start_service: StartService) -> None:
    async with start_service(workers=0, LEASE_SECONDS="1") as service:
        caller = service.client()
        beside = [
            await caller.ask("/script tokens=20 rate=20", conversation_id=f"conv-{number}") for number in range(50)
        ]
        poison = await caller.ask(f"This is {DEADLY}.", conversation_id="conv-deadly")
        service.start_deadly_worker()
        deaths: list[str] = []
        supervising = asyncio.create_task(_supervise(service, deaths))
        try:
            ended = await caller.ended(poison["id"], seconds=90)
            given_up_at = asyncio.get_running_loop().time()
            answered = [await caller.ended(reply["id"], seconds=30) for reply in beside]
        finally:
            supervising.cancel()
        assert (ended["status"], ended["error"]["code"]) == ("failed", "too_many_attempts")
        assert {reply["status"] for reply in answered} == {"completed"}
        assert asyncio.get_running_loop().time() - given_up_at < 30
        assert len(deaths) == _DEFAULT_ATTEMPTS
