"""What was acknowledged is there, what is there was asked for, and a key means one thing (I1, I2, I3)."""

from collections import defaultdict
from collections.abc import Iterator

from tests.chaos.history import Action, FinalMessage, Operation, Outcome
from tests.chaos.invariants.evidence import Evidence, Posted, Violation, posted, violation


def acknowledged_is_stored(evidence: Evidence) -> Iterator[Violation]:
    """I1: each acknowledged message, reply and change is in the final read as it was acknowledged."""
    for post in evidence.posts:
        if post.outcome is Outcome.OK:
            yield from _message_lost(post, evidence)
        if post.outcome is Outcome.OK and post.asks_reply:
            yield from _reply_lost(post, evidence)
    for variant in evidence.operations(Action.VARIANT):
        if variant.outcome is Outcome.OK:
            yield from _reply_lost(variant, evidence)
    yield from _last_change_lost(evidence)
    yield from _reads_differ_from_documents(evidence)


def stored_was_asked_for(evidence: Evidence) -> Iterator[Violation]:
    """I2: each stored message was posted or is a reply's, each reply was asked for, and a refusal had no effect."""
    attempts: dict[tuple[str, str, str], list[Operation]] = defaultdict(list)
    for post in evidence.posts:
        attempts[post.user, post.conversation or "", post.text or ""].append(post)
    for final in evidence.history.messages:
        if final.message.role == "assistant":
            if final.message.id not in evidence.replies:
                yield violation("I2", f"{final.message.id} is an answer that is no reply's")
            continue
        tried = attempts.get((final.user, final.conversation, final.message.text), [])
        if not tried:
            yield violation("I2", f"{final.message.id} is stored, and nobody posted it")
        elif all(post.outcome is Outcome.FAIL for post in tried):
            yield violation("I2", f"{final.message.id} is stored, and it was refused", *tried)
    yield from _replies_nobody_asked_for(evidence, attempts)


def key_means_one_thing(evidence: Evidence) -> Iterator[Violation]:
    """I3: a key gives one message and equal answers for ever, and none to another body."""
    first: dict[tuple[str, str], Operation] = {}
    for post in evidence.posts:
        if post.key is None or post.outcome is not Outcome.OK:
            continue
        if post.action is Action.CONFLICT:
            yield violation("I3", "another body was accepted under a key that was used", post)
            continue
        earlier = first.setdefault((post.user, post.key), post)
        if (earlier.message_id, earlier.seq, earlier.reply_id) != (post.message_id, post.seq, post.reply_id):
            yield violation("I3", f"the key {post.key} was answered differently", earlier, post)
    yield from _stored_twice(evidence)


def _message_lost(post: Operation, evidence: Evidence) -> Iterator[Violation]:
    final = evidence.messages.get(post.message_id or "")
    if final is None:
        yield violation("I1", f"{post.message_id} was acknowledged and is not there", post)
        return
    was = (post.user, post.conversation, post.seq, post.text)
    is_ = (final.user, final.conversation, final.message.seq, final.message.text)
    if was != is_:
        yield violation("I1", f"{post.message_id} was acknowledged as {was} and is {is_}", post)


def _reply_lost(asking: Operation, evidence: Evidence) -> Iterator[Violation]:
    answered = asking.message_id if asking.message_id is not None else asking.target
    reply = evidence.replies.get(asking.reply_id or "")
    if reply is None:
        yield violation("I1", f"the reply {asking.reply_id} was promised and is not there", asking)
    elif reply.message_id != answered:
        yield violation("I1", f"the reply {reply.id} was promised to {answered} and answers {reply.message_id}", asking)


def _last_change_lost(evidence: Evidence) -> Iterator[Violation]:
    """Of changes that did not overlap, the last one acknowledged is how it stands."""
    for target in evidence.hidings.keys() | evidence.restorings.keys():
        changes = evidence.hidings.get(target, []) + evidence.restorings.get(target, [])
        last = max(changes, key=lambda change: change.began)
        is_certain = last.outcome is Outcome.OK and all(
            change is last or (change.outcome is Outcome.OK and (change.ended or last.began) < last.began)
            for change in changes
        )
        final = evidence.messages.get(target)
        if is_certain and final is not None and final.message.is_deleted != (last.action is Action.DELETE):
            yield violation("I1", f"the last {last.action} of {target} had no effect", last)


def _reads_differ_from_documents(evidence: Evidence) -> Iterator[Violation]:
    """What the API shows is what MongoDB holds."""
    for collection, shown in (("messages", evidence.messages.keys()), ("replies", evidence.replies.keys())):
        held = {fields["_id"] for fields in evidence.documents(collection)}
        for missing in sorted(held ^ shown):
            where = "is stored and not shown" if missing in held else "is shown and not stored"
            yield violation("I1", f"{missing} {where}")


def _replies_nobody_asked_for(
    evidence: Evidence, attempts: dict[tuple[str, str, str], list[Operation]]
) -> Iterator[Violation]:
    variants: dict[str, int] = defaultdict(int)
    for variant in evidence.operations(Action.VARIANT):
        if variant.outcome is not Outcome.FAIL:
            variants[variant.target or ""] += 1
    for message_id, replies in evidence.replies_to.items():
        question = evidence.messages.get(message_id)
        if question is None:
            yield violation("I2", f"{replies[0].id} answers {message_id}, which is not there")
            continue
        asked = int(any(post.asks_reply for post in _attempts_of(question, attempts)))
        if len(replies) > asked + variants[message_id]:
            yield violation(
                "I2", f"{message_id} has {len(replies)} replies; {asked + variants[message_id]} were asked for"
            )


def _attempts_of(final: FinalMessage, attempts: dict[tuple[str, str, str], list[Operation]]) -> list[Operation]:
    return attempts.get((final.user, final.conversation, final.message.text), [])


def _stored_twice(evidence: Evidence) -> Iterator[Violation]:
    """A text is stored at most as often as it was posted, attempts under one key counting once."""
    wanted: dict[tuple[str, str, str], list[Posted]] = defaultdict(list)
    for one in posted(post for post in evidence.posts if post.outcome is not Outcome.FAIL):
        post = one.attempts[0]
        wanted[post.user, post.conversation or "", post.text or ""].append(one)
    stored: dict[tuple[str, str, str], int] = defaultdict(int)
    for final in evidence.history.messages:
        if final.message.role != "assistant":
            stored[final.user, final.conversation, final.message.text] += 1
    for text, count in stored.items():
        if count > len(wanted[text]) > 0:
            attempts = [attempt for one in wanted[text] for attempt in one.attempts]
            yield violation("I3", f"posted {len(wanted[text])} time(s) and stored {count} times", *attempts)
