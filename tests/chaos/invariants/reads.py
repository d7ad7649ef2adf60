"""Reads agree with one another and with the end, and show nobody what is another's (I7, I8, I9, I11)."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from operator import lt

from tests.chaos.history import Action, Operation, Outcome, SeenMessage
from tests.chaos.invariants.evidence import Evidence, Place, Violation, violation

_Fact = tuple[int, str, str, str | None, str | None]


def reads_agree(evidence: Evidence) -> Iterator[Violation]:
    """I7: whoever reads a message, whenever, reads the same."""
    facts: dict[str, tuple[_Fact, Operation | None]] = {
        final.message.id: (_fact(final.message), None) for final in evidence.history.messages
    }
    for operation in evidence.history.operations:
        for seen in operation.seen:
            fact = _fact(seen)
            first = facts.get(seen.id)
            if first is None:
                facts[seen.id] = (fact, operation)
            elif first[0] != fact:
                readers = (first[1], operation) if first[1] is not None else (operation,)
                yield violation("I7", f"{seen.id} was read as {fact} and as {first[0]}", *readers)


def shown_stays_shown(evidence: Evidence) -> Iterator[Violation]:
    """I8: what was acknowledged or read once is in every later read, unless hidden; what was hidden is in none."""
    messages = evidence.messages
    hidings = evidence.hidings
    for operation in evidence.history.operations:
        for seen in operation.seen:
            if seen.id not in messages:
                yield violation("I8", f"{seen.id} was read and is not there at the end", operation)
    known = _known_since(evidence)
    yield from _single_reads(evidence, known)
    for walk, expected in _walks_and_what_they_must_show(evidence, known):
        shown = {seen.id for seen in walk.seen}
        for missing in expected:
            if missing not in shown and not evidence.may_be_hidden(missing, walk):
                yield violation("I8", f"{missing} was there and a walk does not show it", walk)
        for seen in walk.seen:
            if seen.id in hidings and not seen.is_deleted and evidence.is_hidden(seen.id, walk):
                yield violation("I8", f"{seen.id} was hidden and a walk shows it", walk)


def walks_are_whole(evidence: Evidence) -> Iterator[Violation]:
    """I9: a walk by cursor shows nothing twice, keeps the order, and leaves out only what may be hidden."""
    at: dict[tuple[str, str, int], str] = {
        (final.user, final.conversation, final.message.seq): final.message.id for final in evidence.history.messages
    }
    for walk in evidence.operations(Action.LIST_WALK):
        if walk.outcome is not Outcome.OK:
            continue
        if len({seen.id for seen in walk.seen}) != len(walk.seen):
            yield violation("I9", "a walk shows a message twice", walk)
        seqs = [seen.seq for seen in walk.seen]
        ascending = seqs[::-1] if walk.is_descending else seqs
        if not all(map(lt, ascending, ascending[1:])):
            yield violation("I9", "a walk is out of order", walk)
            continue
        if not ascending or (ascending[0], ascending[-1]) == (1, len(ascending)):
            continue  # places rise, so that nothing is left out when there are as many as the last one says
        for earlier, later in pairwise([0, *ascending]):
            for seq in range(earlier + 1, later):
                left_out = at.get((walk.user, walk.conversation or "", seq), "")
                if not evidence.may_be_hidden(left_out, walk):
                    yield violation("I9", f"a walk leaves out place {seq}", walk)


def nobody_reads_anothers(evidence: Evidence) -> Iterator[Violation]:
    """I11: no answer holds another user's secret, and asking for another's things finds nothing."""
    owners = {post.canary: post.user for post in evidence.posts if post.canary is not None}
    messages = evidence.messages
    for operation in evidence.history.operations:
        for canary in operation.canaries:
            if owners.get(canary, operation.user) != operation.user:
                yield violation("I11", f"{operation.user} was shown what is {owners[canary]}'s", operation)
        if operation.action is Action.FOREIGN_READ and operation.outcome is Outcome.OK:
            yield violation("I11", f"{operation.user} may read {operation.target}, which is another's", operation)
        for seen in operation.seen:
            final = messages.get(seen.id)
            if final is not None and final.user != operation.user:
                yield violation("I11", f"{operation.user} was shown {seen.id} of {final.user}", operation)


def _fact(seen: SeenMessage) -> _Fact:
    return seen.seq, seen.role, seen.text, seen.reply_to, seen.parent_id


def _single_reads(evidence: Evidence, known: dict[str, tuple[float, Place]]) -> Iterator[Violation]:
    for read in evidence.operations(Action.GET):
        target = read.target or ""
        is_missing = read.status == 404 and target in known and known[target][0] < read.began
        if is_missing and not evidence.may_be_hidden(target, read):
            yield violation("I8", f"{target} was there and is not found", read)
        if read.outcome is Outcome.OK and evidence.is_hidden(target, read):
            yield violation("I8", f"{target} was hidden and is shown", read)


def _known_since(evidence: Evidence) -> dict[str, tuple[float, Place]]:
    """When each message was first known to be there, by the end of the operation that showed it."""
    known: dict[str, float] = {}
    for operation in evidence.history.operations:
        ended = operation.ended
        if operation.outcome is not Outcome.OK or ended is None:
            continue
        shown = [seen.id for seen in operation.seen]
        if operation.message_id is not None and operation.action is not Action.VARIANT:
            shown.append(operation.message_id)
        for message_id in shown:
            since = known.get(message_id)
            if since is None or ended < since:
                known[message_id] = ended
    finals = ((message_id, since, evidence.messages.get(message_id)) for message_id, since in known.items())
    return {id_: (since, (final.user, final.conversation)) for id_, since, final in finals if final is not None}


def _walks_and_what_they_must_show(
    evidence: Evidence, known: dict[str, tuple[float, Place]]
) -> Iterator[tuple[Operation, list[str]]]:
    of_place: dict[Place, list[tuple[float, str]]] = defaultdict(list)
    for message_id, (since, place) in known.items():
        of_place[place].append((since, message_id))
    for listed in of_place.values():
        listed.sort()
    for walk in evidence.operations(Action.LIST_WALK):
        if walk.outcome is Outcome.OK:
            listed = of_place[walk.user, walk.conversation or ""]
            before = bisect_right(listed, (walk.began, ""))
            yield walk, [message_id for _, message_id in listed[:before]]
