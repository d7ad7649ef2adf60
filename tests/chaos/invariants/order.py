"""Places in a conversation are dense and in the order of asking, and limits are kept (I5, I12)."""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator

from tests.chaos.history import Action, Operation, Outcome
from tests.chaos.invariants.evidence import Evidence, Place, Posted, Violation, posted, violation

_MOST_MESSAGES = 10_000
_WINDOW_SECONDS = 60.0
_DEFAULT_RATE_LIMIT = "100"


def places_are_dense_and_in_order(evidence: Evidence) -> Iterator[Violation]:
    """I5: `seq` is 1..n; what was posted after an acknowledgement stands after what was acknowledged."""
    for place, messages in evidence.conversations.items():
        seqs = [final.message.seq for final in messages]
        if seqs != list(range(1, len(seqs) + 1)):
            odd = next(seq for expected, seq in enumerate(seqs, 1) if seq != expected)
            yield violation("I5", f"the places in {place} are not 1 to {len(seqs)}: look at {odd}")
    for fields in evidence.documents("conversations"):
        stored = evidence.conversations.get((fields["user_id"], fields["conversation_id"]), [])
        if fields["last_seq"] != len(stored):
            yield violation("I5", f"{fields['_id']} counts {fields['last_seq']} messages and has {len(stored)}")
    of_place: dict[Place, list[Posted]] = defaultdict(list)
    for one in posted(post for post in evidence.posts if post.action is not Action.CONFLICT):
        if one.acknowledged is not None and one.acknowledged.seq is not None:
            of_place[one.attempts[0].user, one.attempts[0].conversation or ""].append(one)
    for posts in of_place.values():
        yield from _out_of_order(posts)


def limits_are_kept(evidence: Evidence) -> Iterator[Violation]:
    """I12: messages a conversation, and messages a user in any 60 s (twice as many across a loss of Redis)."""
    for place, messages in evidence.conversations.items():
        if len(messages) > _MOST_MESSAGES:
            yield violation("I12", f"{place} holds {len(messages)} messages; {_MOST_MESSAGES} are allowed")
    limit = int(evidence.history.run.settings.get("RATE_LIMIT_PER_MINUTE", _DEFAULT_RATE_LIMIT))
    losses = sorted(fault.began for fault in evidence.history.faults if "redis" in fault.target)
    of_user: dict[str, list[Operation]] = defaultdict(list)
    for operation in evidence.history.operations:
        if operation.action in (Action.POST, Action.REPOST, Action.VARIANT) and _is_charged(operation):
            of_user[operation.user].append(operation)
    for user, charged in of_user.items():
        begins = [one.began for one in charged]
        ends = sorted(one.ended for one in charged if one.ended is not None)
        for number, first in enumerate(begins):
            over = first + _WINDOW_SECONDS
            lost = bisect_right(losses, over) > bisect_left(losses, first - _WINDOW_SECONDS)
            # Wholly inside the window; those that began before it have ended before it does.
            inside = bisect_right(ends, over) - number
            if inside > limit * (2 if lost else 1):
                yield violation("I12", f"{inside} messages of {user} in 60 s; {limit} are allowed", charged[number])
                break


def _out_of_order(posts: list[Posted]) -> Iterator[Violation]:
    by_end = sorted(posts, key=lambda one: _acknowledged(one).ended or 0)
    highest: Operation | None = None
    place = 0
    for one in sorted(posts, key=lambda one: one.began):
        while place < len(by_end) and (_acknowledged(by_end[place]).ended or 0) < one.began:
            earlier = _acknowledged(by_end[place])
            if highest is None or (earlier.seq or 0) > (highest.seq or 0):
                highest = earlier
            place += 1
        mine = _acknowledged(one)
        if highest is not None and (highest.seq or 0) >= (mine.seq or 0) and highest.message_id != mine.message_id:
            yield violation("I5", f"posted after {highest.message_id} and stands before it", highest, mine)


def _acknowledged(one: Posted) -> Operation:
    assert one.acknowledged is not None
    return one.acknowledged


def _is_charged(operation: Operation) -> bool:
    return operation.outcome is Outcome.OK and not operation.is_replay and operation.ended is not None
