"""A watcher sees the stored text, once, in order, and one end, however often it was cut off (I10)."""

from collections.abc import Iterator
from itertools import pairwise

from tests.chaos.history import Action, Operation, Outcome, SeenEvent, digest
from tests.chaos.invariants.evidence import Evidence, Violation, violation

_STEPS = 8
"""A position is `<take>-<characters * 8 + step>`."""
_DELTA = "reply.delta"
_RESET = "reply.reset"
_ENDINGS = {"reply.completed", "reply.incomplete", "reply.cancelled", "reply.blocked", "reply.failed"}
_EMPTY = digest("")


def streams_are_whole(evidence: Evidence) -> Iterator[Violation]:
    """I10: positions rise, every character is shown once, and a finished stream ends once with the stored text."""
    for watch in evidence.operations(Action.WATCH):
        yield from _out_of_order(watch)
        yield from _characters_missed(watch)
        endings = [event.name for event in watch.events if event.name in _ENDINGS]
        if len(endings) > 1 or (endings and watch.events[-1].name not in _ENDINGS):
            yield violation("I10", f"a stream ends with {endings}, and not once at its end", watch)
        elif watch.outcome is Outcome.OK:
            if not endings:
                yield violation("I10", "a finished stream has no end", watch)
            else:
                yield from _differs_from_stored(watch, endings[0], evidence)


def _out_of_order(watch: Operation) -> Iterator[Violation]:
    for earlier, later in pairwise(watch.events):
        if _position(later) <= _position(earlier):
            resumed = " after it was resumed" if later.connection != earlier.connection else ""
            yield violation("I10", f"{later.position} follows {earlier.position}{resumed}", watch)


def _characters_missed(watch: Operation) -> Iterator[Violation]:
    take, characters = 0, 0
    for event in watch.events:
        at_take, offset = _position(event)
        if event.name == _RESET or at_take != take:
            take, characters = at_take, 0
        if event.name == _DELTA:
            characters += event.characters
            if offset // _STEPS != characters:
                yield violation("I10", f"at {event.position} a watcher has {characters} characters", watch)
                return


def _differs_from_stored(watch: Operation, ending: str, evidence: Evidence) -> Iterator[Violation]:
    reply = evidence.replies.get(watch.target or "")
    if reply is None:
        yield violation("I10", f"{watch.target} was watched and is not there", watch)
        return
    if ending != f"reply.{reply.status}":
        yield violation("I10", f"the stream of {reply.id} ends with {ending}; it is {reply.status}", watch)
    final = evidence.messages.get(reply.id)
    stored = final.message.text if final is not None else _EMPTY
    if watch.text != stored and not evidence.may_be_hidden(reply.id, watch):
        yield violation("I10", f"a watcher of {reply.id} has another text than is stored", watch)


def _position(event: SeenEvent) -> tuple[int, int]:
    take, _, offset = event.position.partition("-")
    return int(take), int(offset)
