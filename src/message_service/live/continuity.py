"""Keeps one watcher's text whole: what it is shown always joins on to what it has seen. Pure."""

from dataclasses import replace

from message_service.live.event import START, Began, Counted, LiveEvent, Placed, Position, Reset, Step, Text
from message_service.messages.reply import Reply


class Continuity:
    """Follows one watcher. Where a piece is missing it shows nothing more until the text begins anew or is stored."""

    def __init__(self, seen: Position) -> None:
        self.seen = seen
        self._has_gap = False

    def admit(self, placed: Placed) -> list[Placed]:
        """What of a live event to show, in order; empty when it was seen already or does not join on."""
        position, event = placed.position, placed.event
        if position <= self.seen:
            return []
        shown: list[Placed] = []
        if position.take != self.seen.take:
            if not self._may_begin(position, event):
                self._has_gap = True
                return []
            self._has_gap = False
            if self.seen.take != START.take and not isinstance(event, Reset):
                shown.append(Placed(Position(position.take, 0, Step.RESET), Reset("retried")))
        if self._has_gap:
            return []
        already = self._overlap(position, event)
        if already is None:
            self._has_gap = True
            return []
        if already and isinstance(event, Text):
            placed = replace(placed, event=Text(event.text[already:]))
        self.seen = position
        return [*shown, placed]

    @staticmethod
    def _may_begin(position: Position, event: LiveEvent) -> bool:
        """Whether a take can be shown from here: from its first character on."""
        return position.characters == _length(event)

    def _overlap(self, position: Position, event: LiveEvent) -> int | None:
        """How many characters of the event were seen already; None when some before it were not."""
        begins_at = position.characters - _length(event)
        seen_characters = self.seen.characters if position.take == self.seen.take else 0
        return seen_characters - begins_at if begins_at <= seen_characters else None


def _length(event: LiveEvent) -> int:
    return len(event.text) if isinstance(event, Text) else 0


def end_of(reply: Reply, text: str) -> Position:
    """Where the stream of an ended reply ends."""
    return Position(reply.take, len(text), Step.END)


def remainder(reply: Reply, text: str, seen: Position) -> list[Placed]:
    """What a watcher who has `seen` so much is still to be shown of an ended reply, but for the end itself."""
    shown: list[Placed] = []
    take = reply.take
    characters = seen.characters
    if seen.take != take:
        characters = 0
        if seen.take != START.take:
            shown.append(Placed(Position(take, 0, Step.RESET), Reset("retried")))
        if reply.provider is not None and reply.model is not None:
            began = Began(reply.provider, reply.model, reply.attempts)
            shown.append(Placed(Position(take, 0, Step.STARTED), began))
    if text[characters:]:
        shown.append(Placed(Position(take, len(text), Step.TEXT), Text(text[characters:])))
    if reply.usage is not None:
        shown.append(Placed(Position(take, len(text), Step.USAGE), Counted(reply.usage)))
    return [placed for placed in shown if placed.position > seen]
