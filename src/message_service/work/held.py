"""The replies this worker is answering now, and how each can be told to stop."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import Any, Protocol

from message_service.ids import ReplyId
from message_service.messages.reply import Attempt, Reply


class StopReason(StrEnum):
    CANCELLED = "cancelled"
    """Somebody asked for it."""
    LOST = "lost"
    """Another worker owns the reply now."""
    DRAINING = "draining"
    """This worker is going away."""


class Progress(Protocol):
    """How far the attempts at a reply have come, for whoever books them should this worker die."""

    @property
    def stage(self) -> tuple[int, bool]:
        """Differs when there is more to tell than before."""

    def so_far(self) -> Sequence[Attempt]: ...


class Hold:
    """One claimed reply and the task that writes it."""

    def __init__(self, claimed: Reply, progress: Progress) -> None:
        self.claimed = claimed
        self.progress = progress
        self.noted_stage = (0, False)
        """The stage of `progress` that the store knows of."""
        self.stop_reason: StopReason | None = None
        self.is_draining = False
        """Whether its worker is going away, whatever it was told to stop for."""
        self._writing: asyncio.Task[Any] | None = None

    def write_in(self, writing: asyncio.Task[Any]) -> None:
        """`writing` is what `stop` ends."""
        self._writing = writing
        if self.stop_reason is not None:
            writing.cancel()

    def stop(self, reason: StopReason) -> None:
        """Stop writing; the first reason counts."""
        self.is_draining |= reason is StopReason.DRAINING
        if self.stop_reason is None:
            self.stop_reason = reason
            if self._writing is not None:
                self._writing.cancel()


class HeldReplies:
    def __init__(self) -> None:
        self._holds: dict[ReplyId, Hold] = {}

    def __len__(self) -> int:
        return len(self._holds)

    def __iter__(self) -> Iterator[Hold]:
        return iter(list(self._holds.values()))

    @contextmanager
    def hold(self, claimed: Reply, progress: Progress) -> Iterator[Hold]:
        hold = Hold(claimed, progress)
        self._holds[claimed.id] = hold
        try:
            yield hold
        finally:
            # A later claim of the same reply by this worker may have taken the place.
            if self._holds.get(claimed.id) is hold:
                del self._holds[claimed.id]

    def get(self, reply_id: ReplyId) -> Hold | None:
        return self._holds.get(reply_id)
