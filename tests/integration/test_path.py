"""The path is read from any message back to the beginning, in few round trips whatever its shape."""

from collections.abc import Callable
from itertools import pairwise

import pytest

from message_service.ids import ConversationId, ConversationKey, MessageId, UserId, conversation_key, new_message_id
from message_service.messages.message import Message, Role
from message_service.messages.reply import FinishReason, Outcome, ReplyStatus
from message_service.store.database import Database
from message_service.store.mapping import message_to_row
from message_service.store.path import PathReader
from tests.fixtures.samples import CONVERSATION, KEY, USER, a_message, completed, failed
from tests.fixtures.stores import CommandLog
from tests.integration.steps import Steps


def never(_: Message) -> bool:
    return False


async def test_path_is_everything_said_when_it_was_said_in_turn(steps: Steps) -> None:
    for number in range(4):
        await steps.exchange(f"q{number}", f"a{number}")
    last = await steps.post("last")
    assert await steps.path_to(last.id) == ["q0", "a0", "q1", "a1", "q2", "a2", "q3", "a3", "last"]


async def test_path_is_one_message_when_it_is_the_first(steps: Steps) -> None:
    assert await steps.path_to((await steps.post("only")).id) == ["only"]


async def test_answers_stand_behind_their_questions_when_the_user_went_on_meanwhile(steps: Steps) -> None:
    replies = [await steps.ask(f"q{number}") for number in range(4)]
    last = await steps.post("last")
    for number, reply in enumerate(replies):
        await steps.answer(reply, completed(f"a{number}"))
    assert await steps.path_to(last.id) == ["q0", "a0", "q1", "a1", "q2", "a2", "q3", "a3", "last"]


async def test_unwritten_answer_is_passed_over_when_it_is_still_on_its_way(steps: Steps) -> None:
    await steps.ask("q0")
    await steps.ask("q1")
    last = await steps.post("last")
    assert await steps.path_to(last.id) == ["q0", "q1", "last"]


async def test_unwritten_answer_is_passed_over_when_it_failed(steps: Steps) -> None:
    await steps.exchange("q0", "a0")
    reply = await steps.ask("q1")
    meanwhile = await steps.post("meanwhile")
    await steps.answer(reply, failed())
    assert await steps.path_to(meanwhile.id) == ["q0", "a0", "q1", "meanwhile"]
    following = await steps.post("following")
    assert await steps.path_to(following.id) == ["q0", "a0", "q1", "meanwhile", "following"]


async def test_cut_answer_is_on_the_path_as_far_as_it_came(steps: Steps) -> None:
    reply = await steps.ask("q0")
    await steps.answer(
        reply, Outcome(status=ReplyStatus.CANCELLED, take=1000, text="On", finish_reason=FinishReason.CANCELLED)
    )
    following = await steps.post("following")
    assert await steps.path_to(following.id) == ["q0", "On", "following"]


async def test_path_has_one_of_the_variants_when_there_are_several(steps: Steps) -> None:
    await steps.exchange("q0", "a0")
    question, first = await steps.exchange("q1", "a1")
    await steps.answer(await steps.ask_again(question), completed("a1 again"))
    second = await steps.post("after the second")
    assert await steps.path_to(second.id) == ["q0", "a0", "q1", "a1 again", "after the second"]
    branch = await steps.post("after the first", parent_id=first.id)
    assert await steps.path_to(branch.id) == ["q0", "a0", "q1", "a1", "after the first"]


async def test_path_leaves_other_branches_out_when_they_are_interwoven(steps: Steps) -> None:
    root = await steps.post("root")
    tips = {name: root for name in "abc"}
    for depth in range(5):
        for name, tip in tips.items():
            tips[name] = await steps.post(f"{name}{depth}", parent_id=tip.id)
    for name, tip in tips.items():
        assert await steps.path_to(tip.id) == ["root", *(f"{name}{depth}" for depth in range(5))]


async def test_deleted_messages_are_left_out_and_what_they_followed_is_not(steps: Steps, database: Database) -> None:
    question, answer = await steps.exchange("q0", "a0")
    last = await steps.post("last")
    for message in (question, answer):
        await database.messages.update_one({"_id": message.id}, {"$set": {"deleted_at": message.created_at}})
    await steps.post("more")
    assert await steps.path_to(last.id) == ["last"]


async def test_reading_ends_when_it_is_enough(steps: Steps, database: Database) -> None:
    for number in range(5):
        last = await steps.post(str(number))
    seen: list[str] = []

    def is_enough(message: Message) -> bool:
        seen.append(message.content)
        return len(seen) == 3

    path = await PathReader(database).newest_first(KEY, last.id, is_enough)
    assert [message.content for message in path] == ["4", "3"]
    assert seen == ["4", "3", "2"]


@pytest.mark.parametrize(
    "key", [conversation_key(UserId("bob"), CONVERSATION), conversation_key(USER, ConversationId("conv-2"))]
)
async def test_nothing_is_read_when_the_message_is_in_another_conversation(steps: Steps, key: str) -> None:
    message = await steps.post("private")
    assert await PathReader(steps.database).newest_first(key, message.id, never) == []  # type: ignore[arg-type]  # pytest hands it on untyped


async def test_nothing_is_read_when_there_is_no_such_message(steps: Steps) -> None:
    await steps.post()
    assert await steps.path_to(new_message_id()) == []


def in_turn(count: int) -> list[Message]:
    """Questions and answers, one after another."""
    conversation_id = ConversationId(f"in-turn-{count}")
    messages: list[Message] = []
    for seq in range(1, count + 1):
        parent = messages[-1].id if messages else None
        is_answer = seq % 2 == 0
        messages.append(
            a_message(
                seq,
                conversation_id=conversation_id,
                parent_id=parent,
                role=Role.ASSISTANT if is_answer else Role.USER,
                reply_to=parent if is_answer else None,
                content=str(seq),
            )
        )
    return messages


def all_asked_before_any_answer(count: int) -> list[Message]:
    """Each question follows an answer whose place in the conversation is far behind it."""
    half = count // 2
    where = {"conversation_id": ConversationId(f"interwoven-{count}")}
    questions = [MessageId(f"msg_q{number}") for number in range(half)]
    answers = [MessageId(f"msg_a{number}") for number in range(half)]
    messages = []
    for number in range(half):
        parent = answers[number - 1] if number else None
        messages.append(a_message(number + 1, id=questions[number], parent_id=parent, **where))
    for number in range(half):
        messages.append(a_message(half + number + 1, id=answers[number], parent_id=questions[number], **where))
    return messages


async def laid_out(database: Database, messages: list[Message]) -> ConversationKey:
    await database.messages.insert_many([message_to_row(message) for message in messages], ordered=False)
    return conversation_key(USER, messages[0].conversation_id)


@pytest.mark.parametrize(
    ("lay_out", "count", "most_commands"),
    [(in_turn, 10_000, 81), (all_asked_before_any_answer, 10_000, 240), (in_turn, 100, 2)],
)
async def test_round_trips_are_few_when_the_path_is_long(
    logged_database: Database,
    command_log: CommandLog,
    lay_out: Callable[[int], list[Message]],
    count: int,
    most_commands: int,
) -> None:
    messages = lay_out(count)
    key = await laid_out(logged_database, messages)
    command_log.commands.clear()
    path = await PathReader(logged_database).newest_first(key, messages[-1].id, never)
    assert len(path) == count
    assert len({message.id for message in path}) == count
    for child, parent in pairwise(path):
        assert child.parent_id == parent.id
    assert len(command_log.commands) <= most_commands


async def test_two_round_trips_are_enough_when_a_window_is_filled_at_the_end_of_10_000(
    logged_database: Database, command_log: CommandLog
) -> None:
    messages = in_turn(9_999)
    key = await laid_out(logged_database, messages)
    command_log.commands.clear()
    taken = 0

    def is_enough(_: Message) -> bool:
        nonlocal taken
        taken += 1
        return taken > 100

    path = await PathReader(logged_database).newest_first(key, messages[-1].id, is_enough)
    assert len(path) == 100
    assert command_log.names == ["find", "find"]
