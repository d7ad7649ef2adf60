"""Many conversations at once over several processes: each question answered once, in its order."""

import asyncio
from collections import Counter, defaultdict
from typing import Any

from tests.fixtures.client import Answer, Client
from tests.fixtures.service import Service, StartService

_CONVERSATIONS = 200
_QUESTIONS = 10
_POSTS_IN_FLIGHT = 64
_SECONDS = 90


async def _all_answered(service: Service) -> None:
    wanted = _CONVERSATIONS * _QUESTIONS
    with service.mongodb() as database:
        async with asyncio.timeout(_SECONDS):
            while database["messages"].count_documents({"role": "assistant"}) < wanted:  # noqa: ASYNC110  # the work is done by other processes
                await asyncio.sleep(0.2)


async def test_each_question_is_answered_once_and_in_order_when_many_come_at_once(start_service: StartService) -> None:
    async with start_service(apis=2, workers=2, RATE_LIMIT_PER_MINUTE="100000") as service:
        users = [service.client(f"user-{number}", api=number % 2) for number in range(20)]
        gate = asyncio.Semaphore(_POSTS_IN_FLIGHT)

        async def post(conversation: int, question: int) -> Answer:
            text = f"/script rate=max tokens=6\nanswer to question {question} of {conversation}."
            user = users[conversation % 20].at(service.apis[question % 2].url)
            async with gate:
                return await user.post(
                    "/v1/messages", {"conversation_id": f"conv-{conversation}", "content": text, "reply": {}}
                )

        answers = await asyncio.gather(
            *(post(conversation, question) for question in range(_QUESTIONS) for conversation in range(_CONVERSATIONS))
        )
        assert Counter(answer.status for answer in answers) == {202: _CONVERSATIONS * _QUESTIONS}
        await _all_answered(service)
        pages = await asyncio.gather(
            *(_page(users[number % 20], f"conv-{number}", gate) for number in range(_CONVERSATIONS))
        )
        for page in pages:
            _check(page)
        _check_books(service, {answer.json["reply"]["id"] for answer in answers})


async def _page(user: Client, conversation_id: str, gate: asyncio.Semaphore) -> dict[str, Any]:
    async with gate:
        return await user.page(conversation_id, order="asc", limit="100")


def _check(page: dict[str, Any]) -> None:
    messages = page["data"]
    assert [message["seq"] for message in messages] == list(range(1, 2 * _QUESTIONS + 1))
    assert page["active_replies"] == []
    questions = {message["id"]: message for message in messages if message["role"] == "user"}
    replies = [message for message in messages if message["role"] == "assistant"]
    # Answered in the order in which they were asked, each with its own answer.
    assert [reply["reply_to"] for reply in replies] == list(questions)
    for reply in replies:
        assert reply["content"] == questions[reply["reply_to"]]["content"].partition("\n")[2]
        assert reply["finish_reason"] == "stop"


def _check_books(service: Service, asked: set[str]) -> None:
    """One end each, and nothing left over in any conversation."""
    ends: defaultdict[str, int] = defaultdict(int)
    with service.mongodb() as database:
        for row in database["audit"].find({"action": "reply.ended"}, {"subject": 1, "outcome": 1}):
            ends[row["subject"]] += 1
            assert row["outcome"] == "completed"
        assert dict(ends) == dict.fromkeys(asked, 1)
        assert database["replies"].count_documents({"status": "completed"}) == len(asked)
        assert database["replies"].count_documents({}) == len(asked)
        assert database["usage"].count_documents({}) == len(asked)
        for conversation in database["conversations"].find():
            assert (conversation["last_seq"], conversation["reserved"]) == (2 * _QUESTIONS, 0)
            assert (conversation["active_reply"], conversation["waiting_replies"]) == (None, 0)
