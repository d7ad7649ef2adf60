"""What the worker of a reply left in its channel: for each provider that took the prompt, how far it came. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from message_service.live.event import START, Began, Counted, Placed, ProviderSwitched, Text
from message_service.messages.reply import Usage, first_take


@dataclass(slots=True)
class Trace:
    """One attempt, from when a provider took the prompt."""

    began: Began
    pieces: list[str] = field(default_factory=list)
    """What was shown of its text."""
    usage: Usage | None = None
    """None: nobody had told it yet."""
    error: str | None = None
    """Code of what made another provider take over. None: it is not known to have ended."""


def traces(shown: Iterable[Placed], *, epoch: int) -> list[Trace]:
    """The attempts of the claim with that epoch, in order, out of all that the channel holds."""
    found: list[Trace] = []
    end = START
    for placed in shown:
        position = placed.position
        if not first_take(epoch) <= position.take < first_take(epoch + 1):
            continue
        match placed.event:
            case Began():
                found.append(Trace(placed.event))
            case Text(text) if found:
                # A piece may repeat the end of the one before.
                already = end.characters - (position.characters - len(text)) if position.take == end.take else 0
                found[-1].pieces.append(text[max(0, already) :])
                end = position
            case Counted(usage) if found:
                found[-1].usage = usage
            case ProviderSwitched(_, _, reason) if found and found[-1].error is None:
                found[-1].error = reason
    return found
