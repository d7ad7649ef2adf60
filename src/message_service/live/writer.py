"""A worker's pen for one reply: numbers the events, and gathers text into few deltas."""

import asyncio
from functools import partial

from message_service.errors import ClaimLost, RelayUnavailable
from message_service.gathering import gathering_seconds
from message_service.ids import ReplyId
from message_service.live.channel import Channel
from message_service.live.event import Began, Counted, LiveEvent, Placed, Position, ProviderSwitched, Reset, Step, Text
from message_service.messages.reply import Usage

_MOST_LOST_CHARACTERS = 16_384
"""Where more is lost, watchers wait for the whole reply: sending ever more again would only add to the fault."""


class LiveWriter:
    """Writes one take after another. Never waits for Redis; `text` is all that was written of this take."""

    def __init__(self, channel: Channel, reply_id: ReplyId, *, take: int, kept_seconds: int) -> None:
        self._channel = channel
        self._reply_id = reply_id
        self._kept_seconds = kept_seconds
        self.take = take
        self._pieces: list[str] = []
        self._pending: list[str] = []
        self._characters = 0
        self._last_step: Step | None = None
        self._next_delta_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._deltas_under_way = 0
        self._lost = ""
        """The end of what was sent, as far as Redis did not confirm it."""
        self._is_stopped = False
        channel.writers += 1
        self.is_refused = False
        """Whether a later claim has begun to write: this one must stop."""

    @property
    def text(self) -> str:
        return "".join(self._pieces)

    def reset(self, reason: str) -> None:
        """Begin this take where watchers may have seen an earlier one."""
        self._append(Step.RESET, Reset(reason))

    def begin_again(self, reason: str) -> None:
        """Begin the next take: what was written of this one is void."""
        self._drop_pending()
        self.take += 1
        self._pieces.clear()
        self._lost = ""
        self._characters = 0
        self._last_step = None
        self.reset(reason)

    def switched(self, from_provider: str, to_provider: str, reason: str) -> None:
        """Before any text, or where another provider goes on with it."""
        if self._pieces:
            self._show_text()
            self._append_unless_behind(Step.TAKEN_OVER, ProviderSwitched(from_provider, to_provider, reason))
            return
        if self._last_step is not None and self._last_step >= Step.SWITCHED:
            self.begin_again(reason)  # positions must rise, and this take's provider was told already
        self._append(Step.SWITCHED, ProviderSwitched(from_provider, to_provider, reason))

    def began(self, began: Began) -> None:
        self._append_unless_behind(Step.RESUMED if self._pieces else Step.STARTED, began)

    def write(self, text: str) -> None:
        if not text:
            return
        self._pieces.append(text)
        self._pending.append(text)
        self._show_when_due()

    def counted(self, usage: Usage) -> None:
        self._show_text()
        self._append_unless_behind(Step.USAGE, Counted(usage))

    async def end(self) -> None:
        """The store has the end. Call it after that is true."""
        self._show_text()
        await self._channel.end(self._reply_id, Position(self.take, self._characters, Step.END))

    def stop(self) -> None:
        """Write nothing more."""
        self._drop_pending()
        if not self._is_stopped:
            self._is_stopped = True
            self._channel.writers -= 1

    def _drop_pending(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._pending.clear()

    def _show_when_due(self) -> None:
        """Not before the delta that is under way has arrived: where Redis is slow, deltas become longer, not more."""
        if self._timer is not None or self._deltas_under_way:
            return
        loop = asyncio.get_running_loop()
        wait_seconds = self._next_delta_at - loop.time()
        if wait_seconds <= 0:
            self._show_text()
        else:
            self._timer = loop.call_later(wait_seconds, self._show_text)

    def _show_text(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._pending:
            text = "".join(self._pending)
            self._pending.clear()
            self._characters += len(text)
            if not self._deltas_under_way:
                # With what may have been lost: a watcher who has it already is shown the rest only.
                text, self._lost = self._lost + text, ""
            self._next_delta_at = asyncio.get_running_loop().time() + gathering_seconds(self._channel.writers)
            self._deltas_under_way += 1
            self._append(Step.TEXT, Text(text)).add_done_callback(partial(self._note_arrival, self.take, text))

    def _append_unless_behind(self, step: Step, event: LiveEvent) -> None:
        """Leave out what cannot stand behind the last event: Redis would refuse it as an earlier claim's.

        So it is where a second provider takes over, or the usage is told, before the first showed a character.
        """
        if self._last_step is None or step > self._last_step:
            self._append(step, event)

    def _append(self, step: Step, event: LiveEvent) -> asyncio.Future[None]:
        self._last_step = step
        position = Position(self.take, self._characters, step)
        outcome = self._channel.append(self._reply_id, Placed(position, event), kept_seconds=self._kept_seconds)
        outcome.add_done_callback(self._note_refusal)
        return outcome

    def _note_refusal(self, outcome: asyncio.Future[None]) -> None:
        if not outcome.cancelled() and isinstance(outcome.exception(), ClaimLost):
            self.is_refused = True

    def _note_arrival(self, take: int, text: str, outcome: asyncio.Future[None]) -> None:
        self._deltas_under_way -= 1
        if take == self.take:
            is_lost = not outcome.cancelled() and isinstance(outcome.exception(), RelayUnavailable)
            # Sent again with more text only: had it arrived after all, Redis would refuse the same position.
            self._lost = self._lost + text if is_lost and len(self._lost) < _MOST_LOST_CHARACTERS else ""
        if self._pending:
            self._show_when_due()
