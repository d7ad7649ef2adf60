"""One reply on its way from target to target: what was asked, what was shown, and how a next target joins on to it."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from message_service.errors import ModelUnavailable, ProviderError
from message_service.messages.reply import Attempt
from message_service.providers.provider import Finished, Prompt, ProviderEvent, Started, TextDelta
from message_service.providers.reply_reader import is_same_model
from message_service.providers.routing.attempts import Notes
from message_service.providers.routing.failover import Joint
from message_service.providers.routing.target import Target
from message_service.providers.routing.waiting_line import Rank

_WITHOUT_DEADLINE_SECONDS = 3600.0
_CHARACTERS_PER_TOKEN = 4
_SOON_SECONDS = 10.0
"""A provider that does not say when is asked again within so long: `RetryPolicy.longest_delay_in_outage_seconds`."""


def _about(text: str) -> int:
    """Tokens of a text, where nobody counts them better."""
    return -(-len(text) // _CHARACTERS_PER_TOKEN)


@dataclass(frozen=True, slots=True)
class Switched:
    """Another provider takes over. `reason` is the code of the error that led to it."""

    from_provider: str
    to_provider: str
    reason: str


@dataclass(frozen=True, slots=True)
class Restarted:
    """The text so far is void: it begins again. A `Switched` follows."""

    reason: str


RouterEvent = ProviderEvent | Switched | Restarted


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """How a caller wants its prompt routed."""

    provider: str | None = None
    """The only one to ask, or a family of them."""
    strategy: str | None = None
    deadline: float | None = None
    """On the loop's clock."""
    rank: Rank = (0, "")
    """Who is let through first where not all can be: the smallest, and of equal ones the first to come."""
    is_last_trim: bool = False
    """Whether a prompt that is too long for one provider goes to the next, rather than back to be trimmed."""
    attempts: list[Attempt] = field(default_factory=list)
    """Each attempt is appended when it ends."""
    running: list[Notes] = field(default_factory=list)
    """The attempt that is under way, if one is."""
    count_tokens: Callable[[str], int] = _about
    """For what a provider wrote and did not count."""


@dataclass(slots=True)
class Run:
    prompt: Prompt
    route: Route
    line: Sequence[Target]
    """Who may be asked, best first."""
    tried: list[Target] = field(default_factory=list)
    failures: list[ProviderError] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)
    """The text that was shown, as it came."""
    tokens_shown: int = 0
    first_text_at: float = 0
    model: str | None = None
    """Which model wrote the text."""
    is_over: bool = False
    """Whether what was shown is kept as it is."""

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def has_text(self) -> bool:
        return bool(self.pieces)

    def seconds_left(self) -> float:
        if self.route.deadline is None:
            return _WITHOUT_DEADLINE_SECONDS
        return self.route.deadline - asyncio.get_running_loop().time()

    def shown(self, text: str, tokens: int, at: float) -> None:
        self.first_text_at = self.first_text_at or at
        self.pieces.append(text)
        self.tokens_shown += tokens

    def forget_text(self) -> None:
        self.pieces.clear()
        self.tokens_shown = 0
        self.first_text_at = 0

    def switch_to(self, target: Target) -> Switched:
        return Switched(self.tried[-2].name, target.name, self.failures[-1].code)

    def told(self) -> ProviderError:
        """The error that the reply ends with, or is tried again for."""
        return self.failures[-1] if self.has_text else most_telling(self.failures)


class Fresh:
    """A text from its beginning: every event passes on."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def take(self, event: ProviderEvent, at: float) -> list[RouterEvent]:
        if isinstance(event, Started):
            self._run.model = event.model
        elif isinstance(event, TextDelta):
            self._run.shown(event.text, event.tokens, at)
        return [event]


class Continued:
    """A text that goes on where another target broke off. The switch is told once there is something new to show.

    Raises `ModelUnavailable` when another model answers than wrote the beginning: two are not mixed. The target is
    well then (`is_refused`).
    """

    def __init__(self, run: Run, switched: Switched) -> None:
        self._run = run
        self._joint = Joint(run.text)
        self._held: list[RouterEvent] = [switched]
        self.is_refused = False

    def take(self, event: ProviderEvent, at: float) -> list[RouterEvent]:
        match event:
            case Started(provider, model):
                if not may_go_on(model, self._run.model):
                    self.is_refused = True
                    raise ModelUnavailable(f"{model} cannot go on for {self._run.model}.", provider=provider)
                self._held.append(event)
                return []
            case TextDelta(text, tokens):
                return self._pass_on(self._joint.feed(text), tokens, at)
            case Finished():
                return [*self._pass_on(self._joint.end(), 1, at), event]
            case _:
                return [event]

    def _pass_on(self, text: str, tokens: int, at: float) -> list[RouterEvent]:
        if not text:
            return []
        self._run.shown(text, tokens, at)
        held, self._held = self._held, []
        return [*held, TextDelta(text, tokens)]


def may_go_on(model: str | None, beginning: str | None) -> bool:
    """Whether `model` is the one that wrote the `beginning`, as far as their names tell; either may be a dated one."""
    if model is None or beginning is None:
        return False
    return is_same_model(model, beginning) or is_same_model(beginning, model)


def most_telling(failures: Sequence[ProviderError]) -> ProviderError:
    """The error to report when all have failed: one that may pass, and among those the one that passes first.

    One that says when goes before those that do not, because retrying before then would only use up attempts; but
    not one that names a long wait: whoever did not say when may be back much sooner. Of two that do not say when,
    the one whose provider took the prompt is told, so that the attempt counts.
    """

    def rank(fault: ProviderError) -> tuple[bool, float, bool, bool, float]:
        wait_seconds = fault.retry_after_seconds or 0
        long_wait_seconds = wait_seconds if wait_seconds > _SOON_SECONDS else 0
        says_nothing = fault.retry_after_seconds is None
        return not fault.is_transient, long_wait_seconds, says_nothing, fault.is_outage, wait_seconds

    return min(failures, key=rank)
