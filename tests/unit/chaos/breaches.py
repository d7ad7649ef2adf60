"""Histories of a day on which one promise was broken, each by its own change of the story."""

from collections.abc import Callable
from dataclasses import replace

from tests.chaos.history import Action, Outcome, SeenEvent, SeenMessage, digest
from tests.unit.chaos.story import Story


def lost_message(story: Story) -> None:
    story.forget("message3")
    for number in (4, 5):
        story.change(("message4", "reply2")[number - 4], seq=number - 1)


def message_changed_on_its_way(story: Story) -> None:
    story.change("message3", text=digest("Another note."))


def lost_reply(story: Story) -> None:
    story.replies.pop(1)
    del story.documents["replies"]["reply2"]


def hidden_message_back(story: Story) -> None:
    story.change("message1", is_deleted=False)


def shown_and_not_stored(story: Story) -> None:
    del story.documents["messages"]["message3"]


def message_nobody_posted(story: Story) -> None:
    story.stores("Out of thin air.", "ada", role="user")


def refused_and_stored(story: Story) -> None:
    story.posts("Too much.", status=429)


def reply_nobody_asked_for(story: Story) -> None:
    story.replies_to(story.messages[0].message, "Another answer.")


def same_key_stored_twice(story: Story) -> None:
    story.stores("And a note.", "ada", role="user")


def same_key_answered_differently(story: Story) -> None:
    repost = story.operations[3]
    assert repost.action is Action.REPOST
    story.amend(repost, message_id="message4", seq=4)


def another_body_accepted(story: Story) -> None:
    conflict = story.operations[4]
    assert conflict.action is Action.CONFLICT
    story.amend(conflict, status=202, outcome=Outcome.OK, message_id="message1", seq=1)


def reply_without_end(story: Story) -> None:
    story.replies[0] = replace(story.replies[0], status="queued", text=None)


def two_answers_to_one_reply(story: Story) -> None:
    story.stores("Very well indeed.", "ada", role="assistant", id="reply1b", reply_to="message1")


def same_id_twice(story: Story) -> None:
    story.messages.append(story.messages[1])


def completed_without_text(story: Story) -> None:
    story.forget("reply2")


def partial_text_as_complete(story: Story) -> None:
    story.change("reply1", text=digest("Very "))
    story.replies[0] = replace(story.replies[0], text=digest("Very "))


def place_kept_for_ever(story: Story) -> None:
    story.documents["conversations"]["ada"]["reserved"] = 1


def place_left_out(story: Story) -> None:
    story.change("reply2", seq=6)


def place_given_twice(story: Story) -> None:
    story.change("message4", seq=3)


def later_post_stands_earlier(story: Story) -> None:
    story.change("message3", seq=4)
    story.change("message4", seq=3)
    story.amend(story.operations[1], seq=4)
    story.amend(story.operations[2], seq=3)


def counter_behind(story: Story) -> None:
    story.documents["conversations"]["ada"]["last_seq"] = 4


def answers_out_of_turn(story: Story) -> None:
    story.documents["replies"]["reply1"]["turn"] = 9


def answer_before_its_question(story: Story) -> None:
    story.change("message4", seq=5)
    story.change("reply2", seq=4)


def read_changed(story: Story) -> None:
    seen = replace(story.messages[2].message, text=digest("And a vote."))
    story.does(Action.GET, target=seen.id, seen=(seen,))


def acknowledged_not_found(story: Story) -> None:
    story.does(Action.GET, status=404, target="message3")


def walk_without_what_was_shown(story: Story) -> None:
    walk = story.walks()
    story.amend(walk, seen=walk.seen[:-1])


def hidden_message_shown(story: Story) -> None:
    story.does(Action.GET, target="message1", seen=(story.messages[0].message,))


def read_and_gone(story: Story) -> None:
    story.does(Action.GET, target="message99", seen=(SeenMessage(id="message99", seq=9, role="user", text="?"),))


def walk_with_a_hole(story: Story) -> None:
    # Nobody knew of the message when the walk began, so that only the hole tells of it.
    story.stores("Posted by one who was cut off.", "ada", role="user")
    story.does(
        Action.POST, status=None, conversation="talk", key="k", text=digest("Posted by one who was cut off."), body="b"
    )
    walk = story.walks()
    late = story.posts("Later.")
    story.amend(walk, seen=(*walk.seen[:-1], story.messages[-1].message), ended=(late.ended or 0) + 1)


def walk_with_a_repetition(story: Story) -> None:
    walk = story.walks()
    story.amend(walk, seen=(*walk.seen, walk.seen[-1]))


def walk_out_of_order(story: Story) -> None:
    walk = story.walks()
    story.amend(walk, seen=(walk.seen[1], walk.seen[0], *walk.seen[2:]))


def stream_repeats_after_resuming(story: Story) -> None:
    watch = story.watches("reply1", "Very ", "well.")
    again = replace(watch.events[2], connection=1)
    story.amend(watch, events=(*watch.events[:3], again, watch.events[3]), text=digest("Very well.well."))


def stream_misses_a_piece(story: Story) -> None:
    watch = story.watches("reply1", "Very ", "well.")
    story.amend(watch, events=(watch.events[0], *watch.events[2:]))


def stream_ends_twice(story: Story) -> None:
    watch = story.watches("reply1", "Very well.")
    story.amend(watch, events=(*watch.events, SeenEvent(position="1000-999", name="reply.failed")))


def stream_without_end(story: Story) -> None:
    watch = story.watches("reply1", "Very well.")
    story.amend(watch, events=watch.events[:-1])


def stream_of_another_text(story: Story) -> None:
    story.watches("reply1", "Very ill!!")


def stream_of_another_end(story: Story) -> None:
    watch = story.watches("reply1", "Very well.")
    story.amend(watch, events=(*watch.events[:-1], replace(watch.events[-1], name="reply.incomplete")))


def secret_shown(story: Story) -> None:
    story.does(Action.GET_REPLY, "bob", target="reply3", canaries=("canary-bob", "canary-ada"))


def anothers_message_read(story: Story) -> None:
    story.does(Action.FOREIGN_READ, "bob", status=200, target="message3")


def anothers_message_listed(story: Story) -> None:
    story.does(Action.GET, "bob", target="message3", seen=(story.messages[2].message,))


def too_many_messages(story: Story) -> None:
    for number in range(10_000):
        story.stores(f"Message {number}.", "ada", role="user")


def too_many_in_a_minute(story: Story) -> None:
    for number in range(101):
        story.posts(f"Message {number}.", "bob")


def too_many_attempts(story: Story) -> None:
    story.documents["replies"]["reply1"].update(attempts=7, epoch=7, take=7000)


def attempted_again_without_need(story: Story) -> None:
    story.replies[0] = replace(story.replies[0], attempts=2)


def ended_by_a_stale_claim(story: Story) -> None:
    story.documents["replies"]["reply1"].update(attempts=2, epoch=2)


def charged_by_a_stale_claim(story: Story) -> None:
    story.documents["usage"]["reply1 2 1"] = {"_id": "reply1 2 1", "reply_id": "reply1", "is_kept": True}


def audit_without_acceptance(story: Story) -> None:
    del story.documents["audit"]["0"]


def audit_with_two_ends(story: Story) -> None:
    story.audits("reply1", "reply.ended", outcome="completed")


def audit_without_hiding(story: Story) -> None:
    audit = story.documents["audit"]
    story.documents["audit"] = {key: row for key, row in audit.items() if row["action"] != "message.deleted"}


def audit_of_nothing(story: Story) -> None:
    story.audits("message99", "message.accepted")


BREACHES: list[tuple[str, Callable[[Story], None]]] = [
    ("I1", lost_message),
    ("I1", message_changed_on_its_way),
    ("I1", lost_reply),
    ("I1", hidden_message_back),
    ("I1", shown_and_not_stored),
    ("I2", message_nobody_posted),
    ("I2", refused_and_stored),
    ("I2", reply_nobody_asked_for),
    ("I3", same_key_stored_twice),
    ("I3", same_key_answered_differently),
    ("I3", another_body_accepted),
    ("I4", reply_without_end),
    ("I4", two_answers_to_one_reply),
    ("I4", same_id_twice),
    ("I4", completed_without_text),
    ("I4", partial_text_as_complete),
    ("I4", place_kept_for_ever),
    ("I5", place_left_out),
    ("I5", place_given_twice),
    ("I5", later_post_stands_earlier),
    ("I5", counter_behind),
    ("I6", answers_out_of_turn),
    ("I6", answer_before_its_question),
    ("I7", read_changed),
    ("I8", acknowledged_not_found),
    ("I8", walk_without_what_was_shown),
    ("I8", hidden_message_shown),
    ("I8", read_and_gone),
    ("I9", walk_with_a_hole),
    ("I9", walk_with_a_repetition),
    ("I9", walk_out_of_order),
    ("I10", stream_repeats_after_resuming),
    ("I10", stream_misses_a_piece),
    ("I10", stream_ends_twice),
    ("I10", stream_without_end),
    ("I10", stream_of_another_text),
    ("I10", stream_of_another_end),
    ("I11", secret_shown),
    ("I11", anothers_message_read),
    ("I11", anothers_message_listed),
    ("I12", too_many_messages),
    ("I12", too_many_in_a_minute),
    ("I13", too_many_attempts),
    ("I13", attempted_again_without_need),
    ("I13", ended_by_a_stale_claim),
    ("I13", charged_by_a_stale_claim),
    ("I14", audit_without_acceptance),
    ("I14", audit_with_two_ends),
    ("I14", audit_without_hiding),
    ("I14", audit_of_nothing),
]
