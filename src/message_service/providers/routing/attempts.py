"""Notes on one attempt at a target while it runs, for the reply's log and for the target's own record."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from message_service.clock import now
from message_service.errors import ProviderError
from message_service.messages.reply import Attempt, Usage
from message_service.providers.provider import Finished, Prompt, ProviderEvent, Started, TextDelta, UsageReported
from message_service.providers.routing.target import Target

STOPPED = "stopped"
"""The error of an attempt that we ended ourselves."""


class Notes:
    """`clock` is the loop's."""

    def __init__(
        self, target: Target, prompt: Prompt, clock: Callable[[], float], count_tokens: Callable[[str], int]
    ) -> None:
        self._target = target
        self._prompt = prompt
        self._clock = clock
        self._count_tokens = count_tokens
        self._began = clock()
        self._started_at = now()
        self._first_token_at: datetime | None = None
        self.model: str | None = None
        """Which answers; None until a provider has taken the prompt."""
        self._usage: Usage | None = None
        self._is_usage_final = False
        self._pieces: list[str] = []
        self._error: str | None = STOPPED
        self._warnings: tuple[str, ...] = ()

    def see(self, event: ProviderEvent) -> bool:
        """Note an event; whether it was the first text."""
        match event:
            case Started(_, model, warnings):
                self.model = model
                self._warnings = warnings
            case UsageReported(usage, is_final):
                self._usage, self._is_usage_final = usage, is_final
            case Finished():
                self._error = None
            case TextDelta(text):
                self._pieces.append(text)
                if self._first_token_at is None:
                    self._first_token_at = now()
                    self._target.took(self._clock() - self._began)
                    return True
        return False

    def failed(self, error: ProviderError) -> None:
        self._error = error.code

    def attempt(self) -> Attempt:
        """What is kept of it. Usage that was not told is estimated, once a provider has taken the prompt."""
        usage = self._usage
        if not self._is_usage_final and self.model is not None:
            usage = self._estimate()
        return Attempt(
            provider=self._target.name,
            host=self._target.host,
            model=self.model,
            started_at=self._started_at,
            first_token_at=self._first_token_at,
            ended_at=now(),
            usage=usage,
            error=self._error,
            warnings=self._warnings,
        )

    def _estimate(self) -> Usage:
        """Of a prompt that was counted only the output is estimated."""
        written = self._count_tokens("".join(self._pieces)) if self._pieces else 0
        if self._usage is not None:
            return replace(self._usage, output_tokens=max(self._usage.output_tokens, written), is_estimated=True)
        prefill = self._prompt.prefill
        prompt_tokens = self._prompt.prompt_tokens + (self._count_tokens(prefill) if prefill else 0)
        return Usage(prompt_tokens, written, is_estimated=True)
