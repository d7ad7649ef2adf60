"""A history arranged for the invariants: by id, by conversation, by key. Built once, in one pass."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tests.chaos.history import POSTS, Action, FinalMessage, FinalReply, History, Operation, Outcome

Place = tuple[str, str]
"""A user and one of their conversations."""


@dataclass(frozen=True, slots=True)
class Violation:
    """`operations` name those concerned, as `process#index`."""

    invariant: str
    what: str
    operations: tuple[str, ...] = ()


def violation(invariant: str, what: str, *operations: Operation) -> Violation:
    return Violation(invariant, what, tuple(f"{one.process}#{one.index}" for one in operations))


class Evidence:
    def __init__(self, history: History) -> None:
        self.history = history
        self.of_action: dict[Action, list[Operation]] = defaultdict(list)
        for operation in history.operations:
            self.of_action[operation.action].append(operation)

    def documents(self, collection: str) -> list[dict[str, Any]]:
        """What MongoDB held of it at the end."""
        return self._documents.get(collection, [])

    @cached_property
    def _documents(self) -> dict[str, list[dict[str, Any]]]:
        found: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for document in self.history.stored:
            found[document.collection].append(document.fields)
        return dict(found)

    def operations(self, *actions: Action) -> Iterable[Operation]:
        """Those of the actions; of one action in the order in which they began."""
        for action in actions:
            yield from self.of_action[action]

    @cached_property
    def posts(self) -> list[Operation]:
        return [operation for operation in self.history.operations if operation.action in POSTS]

    @cached_property
    def messages(self) -> dict[str, FinalMessage]:
        """The final read, by id."""
        return {final.message.id: final for final in self.history.messages}

    @cached_property
    def replies(self) -> dict[str, FinalReply]:
        return {final.id: final for final in self.history.replies}

    @cached_property
    def conversations(self) -> dict[Place, list[FinalMessage]]:
        """The final read by conversation, each in the order of `seq`."""
        found: dict[Place, list[FinalMessage]] = defaultdict(list)
        for final in self.history.messages:
            found[final.user, final.conversation].append(final)
        for messages in found.values():
            messages.sort(key=lambda final: final.message.seq)
        return found

    @cached_property
    def replies_to(self) -> dict[str, list[FinalReply]]:
        found: dict[str, list[FinalReply]] = defaultdict(list)
        for reply in self.history.replies:
            found[reply.message_id].append(reply)
        return found

    @cached_property
    def stored_replies(self) -> dict[str, dict[str, Any]]:
        return {fields["_id"]: fields for fields in self.documents("replies")}

    @cached_property
    def hidings(self) -> dict[str, list[Operation]]:
        """Deletions that may have happened, by what they were to hide."""
        return self._by_target(Action.DELETE)

    @cached_property
    def restorings(self) -> dict[str, list[Operation]]:
        return self._by_target(Action.RESTORE)

    def may_be_hidden(self, message_id: str, reading: Operation) -> bool:
        """Whether somebody had begun to hide the message before the reading was over."""
        over = reading.ended if reading.ended is not None else float("inf")
        return any(hiding.began < over for hiding in self.hidings.get(message_id, ()))

    def is_hidden(self, message_id: str, reading: Operation) -> bool:
        """Whether it was hidden before the reading began, and nobody has tried to show it again."""
        return message_id not in self.restorings and any(
            hiding.outcome is Outcome.OK and hiding.ended is not None and hiding.ended < reading.began
            for hiding in self.hidings.get(message_id, ())
        )

    def _by_target(self, action: Action) -> dict[str, list[Operation]]:
        found: dict[str, list[Operation]] = defaultdict(list)
        for operation in self.of_action[action]:
            if operation.target is not None and operation.outcome is not Outcome.FAIL:
                found[operation.target].append(operation)
        return dict(found)


class Posted:
    """All attempts to post one thing: those with its user, conversation, key and body."""

    __slots__ = ("acknowledged", "attempts", "began")

    def __init__(self, first: Operation) -> None:
        self.attempts = [first]
        self.began = first.began
        self.acknowledged: Operation | None = None
        """The attempt that was told first that it had succeeded."""
        self._note(first)

    def add(self, attempt: Operation) -> None:
        self.attempts.append(attempt)
        self.began = min(self.began, attempt.began)
        self._note(attempt)

    def _note(self, attempt: Operation) -> None:
        if attempt.outcome is Outcome.OK and attempt.ended is not None:
            told = self.acknowledged
            if told is None or attempt.ended < (told.ended or 0):
                self.acknowledged = attempt


def posted(posts: Iterable[Operation]) -> list[Posted]:
    """Attempts joined by key; an attempt without a key stands alone."""
    joined: dict[tuple[str | None, ...], Posted] = {}
    for post in posts:
        if post.key is None:
            identity: tuple[str | None, ...] = (post.process, str(post.index))
        else:
            identity = (post.user, post.conversation, post.key, post.body)
        known = joined.get(identity)
        if known is None:
            joined[identity] = Posted(post)
        else:
            known.add(post)
    return list(joined.values())
