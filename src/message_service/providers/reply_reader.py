"""What all dialects share in reading a streamed reply: its beginning, its text, and whether it may end. No I/O."""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import orjson

from message_service.errors import ContextTooLong, EmptyResponse, OutputSpentOnReasoning, ProviderError, StreamCut
from message_service.messages.reply import FinishReason, Usage
from message_service.providers.faults import classify, complaint_from
from message_service.providers.provider import Finished, ProviderEvent, Started, TextDelta, UsageReported
from message_service.providers.sse import SseEvent
from message_service.providers.text_pieces import TextPieces

FULL_CONTEXT_SHARE = 0.9
"""From here on our own estimate of a prompt is close enough to the context's end to explain an empty reply."""


class ReplyReader(ABC):
    """One streamed reply as it is read. A dialect says what each of its events means, in `_take`."""

    def __init__(
        self, provider: str, asked_model: str, *, stop: Sequence[str] = (), warnings: tuple[str, ...] = ()
    ) -> None:
        """`stop` are the sequences that the server was not asked to stop at, `warnings` what the request left out."""
        self._provider = provider
        self._asked_model = asked_model
        self.warnings = warnings
        self._pieces = TextPieces(stop)
        self._is_started = False
        self._has_text = False
        self._has_reasoning = False
        self._finish: FinishReason | None = None
        self._usage: Usage | None = None
        self.is_done = False
        """Whether nothing more can come."""
        self.tokens_seen = 0
        """Deltas of text or of reasoning: what a token timeout waits for."""

    @property
    def is_started(self) -> bool:
        return self._is_started

    @property
    def is_finished(self) -> bool:
        """Whether the end marker was read; only usage can follow."""
        return self._finish is not None

    @property
    def is_cut_short(self) -> bool:
        """Whether we ended it at a stop sequence: the server may go on writing."""
        return self._pieces.is_stopped

    @property
    def is_empty(self) -> bool:
        """Whether nothing was said and nothing held it back."""
        return not self._has_text and self._finish is not FinishReason.CONTENT_FILTER

    def take(self, event: SseEvent) -> list[ProviderEvent]:
        """What `event` says. Raises the `ProviderError` it announces, or `StreamCut` if it makes no sense."""
        taken: list[ProviderEvent] = []
        if not self.is_done:
            was_counted = self._usage is not None
            self._take(event, taken)
            if self._usage is not None and not was_counted and not self.is_finished:
                # At once: a reply that is cancelled or cut has no end at which it could be told.
                taken.append(UsageReported(self._usage, is_final=False))
        return taken

    def end(self, *, prompt_tokens: int, context_tokens: int | None) -> Iterator[ProviderEvent]:
        """The last events, once nothing more comes. What was counted comes before any error, for it is paid for.

        `context_tokens` is what the model was loaded with, where known: a full context is told only by silence.
        Raises `StreamCut`, `EmptyResponse`, `OutputSpentOnReasoning` or `ContextTooLong`.
        """
        if self._usage is not None:
            yield UsageReported(self._usage, is_final=self.is_finished and not self.is_cut_short)
        if self.is_empty and not self._pieces.is_stopped:
            raise self._why_empty(prompt_tokens, context_tokens)
        if self._finish is None:
            raise StreamCut(provider=self._provider)
        yield Finished(self._finish)

    @abstractmethod
    def _take(self, event: SseEvent, taken: list[ProviderEvent]) -> None: ...

    def _parse(self, event: SseEvent) -> dict[str, object]:
        """The event's JSON object. Raises the `ProviderError` it announces, in any shape servers have for that."""
        try:
            chunk = orjson.loads(event.data)
        except orjson.JSONDecodeError:
            chunk = self._parse_leniently(event)
        if event.event == "error" or not isinstance(chunk, dict) or chunk.get("error"):
            raise classify(self._provider, 200, complaint_from(chunk))
        return chunk

    def _parse_leniently(self, event: SseEvent) -> object:
        """As JSON with halves of surrogate pairs in it, which servers written in JavaScript send."""
        try:
            return json.loads(event.data)
        except (ValueError, RecursionError):
            pass
        if event.event == "error":
            return event.data.decode("utf-8", "replace")
        raise StreamCut("The provider's stream holds something that is not JSON.", provider=self._provider)

    def _begin(self, answering: object, taken: list[ProviderEvent]) -> None:
        """The first event. `answering` is the model that the server names, if it does."""
        if self._is_started:
            return
        self._is_started = True
        model = answering if isinstance(answering, str) and answering else self._asked_model
        warnings = self.warnings
        if not is_same_model(self._asked_model, model):
            warnings += (f"model {self._asked_model!r} was asked for, {model!r} answers",)
        taken.append(Started(self._provider, model, warnings))

    def _say(self, text: str, taken: list[ProviderEvent], *, is_last: bool = False) -> None:
        """More of the text; with `is_last` also what was held back."""
        if text:
            self.tokens_seen += 1
        text = self._pieces.feed(text, is_last=is_last)
        if self._pieces.is_thinking:
            self._has_reasoning = True
        if text:
            self._has_text = True
            taken.append(TextDelta(text))
        if self._pieces.is_stopped:
            self._finish = FinishReason.STOP
            self.is_done = True

    def _think(self) -> None:
        """A piece of reasoning, which is not shown."""
        self._has_reasoning = True
        self.tokens_seen += 1

    def _why_empty(self, prompt_tokens: int, context_tokens: int | None) -> ProviderError:
        read_tokens = self._usage.input_tokens if self._usage else 0
        if context_tokens and (read_tokens >= context_tokens or prompt_tokens >= FULL_CONTEXT_SHARE * context_tokens):
            return ContextTooLong(
                f"The model was loaded with a context of {context_tokens:,} tokens, the prompt has about "
                f"{max(prompt_tokens, read_tokens):,}, and no text came back.",
                provider=self._provider,
            )
        if self._finish is None and not self.is_done:
            return StreamCut(provider=self._provider)
        # Some reason without showing a word of it, and only count it.
        has_reasoned = self._has_reasoning or (self._usage is not None and self._usage.reasoning_tokens > 0)
        if has_reasoned and self._finish is FinishReason.LENGTH:
            return OutputSpentOnReasoning(provider=self._provider)
        return EmptyResponse(provider=self._provider)


def is_same_model(asked: str, answering: str) -> bool:
    """Whether two names can mean one model.

    LM Studio adds `@quantization` to keys and `:2` to second instances; vendors answer with the dated name of
    a model's current snapshot.
    """
    asked, answering = _bare(asked), _bare(answering)
    return asked == answering or (answering.startswith(f"{asked}-") and _is_date(answering[len(asked) + 1 :]))


def _bare(model: str) -> str:
    return model.partition("@")[0].partition(":")[0].lower()


def _is_date(text: str) -> bool:
    return len(digits := text.replace("-", "")) == 8 and digits.isdecimal()
