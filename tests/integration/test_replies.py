"""Reading replies: with their text once there is any, in the order they were asked for."""

from message_service.ids import UserId
from message_service.store.database import Database
from message_service.store.replies import Replies
from tests.fixtures.samples import USER, completed
from tests.integration.steps import Steps


async def test_reply_is_told_with_its_message_or_its_place_in_the_line(steps: Steps, database: Database) -> None:
    replies = Replies(database)
    first, second, third = [await steps.ask(str(number)) for number in range(3)]
    places = [(await replies.find_visible(reply.id, USER)).position for reply in (first, second, third)]
    assert places == [0, 1, 2]
    await steps.answer(first, completed("Done."))
    found = await replies.find_visible(first.id, USER)
    assert found.message is not None
    assert (found.message.content, found.position) == ("Done.", None)
    assert (await replies.find_visible(third.id, USER)).position == 1
    assert [await replies.has_ended(reply.id) for reply in (first, second)] == [True, False]


async def test_variants_are_told_in_the_order_they_were_asked_for(steps: Steps, database: Database) -> None:
    question, answer = await steps.exchange("q", "a")
    second, third = await steps.ask_again(question), await steps.ask_again(question)
    await steps.answer(second, completed("b"))
    found = await Replies(database).variants(question.id, USER)
    assert [one.reply.id for one in found] == [answer.id, second.id, third.id]
    assert [one.message.content if one.message else None for one in found] == ["a", "b", None]
    assert await Replies(database).variants(question.id, UserId("bob")) == []
