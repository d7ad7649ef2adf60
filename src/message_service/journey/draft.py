"""A reply as far as it has come, and what it is when it ends now."""

from dataclasses import dataclass, field

from message_service.context.tokens import TokenCounter
from message_service.journey.tally import spent, with_cost
from message_service.live.event import Began
from message_service.live.writer import LiveWriter
from message_service.messages.reply import Attempt, FinishReason, Outcome, ReplyError, ReplyStatus, Spending, Usage
from message_service.providers.routing.attempts import Notes
from message_service.usage.prices import PriceTable


@dataclass(slots=True)
class Draft:
    writer: LiveWriter
    prices: PriceTable
    provider: str | None = None
    model: str | None = None
    finish_reason: FinishReason | None = None
    attempts: list[Attempt] = field(default_factory=list)
    """At providers, since the claim; each is added when it ends."""
    running: list[Notes] = field(default_factory=list)
    """The attempt that is under way, if one is."""
    _writing: int | None = None
    """Which of the attempts the text goes on with, or ended with."""

    def began(self, began: Began) -> None:
        """A provider took the prompt, and what it writes is the text from now on."""
        self.provider, self.model = began.provider, began.model
        self._writing = len(self.attempts)
        self.writer.began(began)

    def begin_again(self, reason: str) -> None:
        """Another provider writes the text anew."""
        self.writer.begin_again(reason)
        self.finish_reason = None

    @property
    def usage(self) -> Usage | None:
        """Of the attempt that the text ended with; None while it runs, and when no provider took the prompt."""
        if self._writing is None or self._writing == len(self.attempts):
            return None
        return self.attempts[self._writing].usage

    def spent(self, *, is_text_kept: bool = False) -> tuple[Spending, ...]:
        """By the attempts since the claim."""
        return spent(self.attempts, self.prices, kept=self._writing if is_text_kept else None)

    @property
    def stage(self) -> tuple[int, bool]:
        """Rises when another attempt begins, and when a provider takes the prompt."""
        return len(self.attempts) + len(self.running), any(running.model for running in self.running)

    def so_far(self) -> tuple[Attempt, ...]:
        """The attempts since the claim, with the one under way as if it were stopped now."""
        return (*self.attempts, *(running.attempt() for running in self.running))

    def attempt_log(self) -> tuple[Attempt, ...]:
        """The attempts since the claim, with what they cost."""
        return with_cost(self.attempts, self.prices)

    def ended(
        self,
        counter: TokenCounter,
        status: ReplyStatus,
        reason: FinishReason | None,
        error: ReplyError | None = None,
    ) -> Outcome:
        """The end that keeps the text there is. Shows watchers the rest of it, and the usage."""
        text = self.writer.text
        text_tokens = counter.count(text) if text else 0
        usage = self.usage
        if usage is not None:
            self.writer.counted(usage)
        return Outcome(
            status=status,
            take=self.writer.take,
            text=text,
            text_tokens=text_tokens,
            provider=self.provider,
            model=self.model,
            finish_reason=reason,
            usage=usage,
            error=error,
            attempt_log=self.attempt_log(),
            spent=self.spent(is_text_kept=bool(text)),
        )

    def failed(self, error: ReplyError) -> Outcome:
        """The end without text."""
        return Outcome(
            status=ReplyStatus.FAILED,
            take=self.writer.take,
            provider=self.provider,
            model=self.model,
            finish_reason=FinishReason.ERROR,
            error=error,
            attempt_log=self.attempt_log(),
            spent=self.spent(),
        )
