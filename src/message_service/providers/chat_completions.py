"""The OpenAI chat-completions dialect as LM Studio, llama.cpp and many others speak it. No I/O."""

import json
from typing import TypeGuard

import orjson

from message_service.errors import ContextTooLong, EmptyResponse, ProviderError, StreamCut
from message_service.messages.message import Role
from message_service.messages.reply import FinishReason, Usage
from message_service.providers.faults import classify, complaint_from
from message_service.providers.provider import (
    Finished,
    Prompt,
    ProviderEvent,
    Started,
    TextDelta,
    UsageReported,
)
from message_service.providers.sse import SseEvent
from message_service.providers.thoughts import ThoughtFilter

END_OF_STREAM = b"[DONE]"
FULL_CONTEXT_SHARE = 0.9
"""From here on our own estimate of a prompt is close enough to the context's end to explain an empty reply."""

_FINISH_REASONS = {
    "length": FinishReason.LENGTH,
    "max_tokens": FinishReason.LENGTH,
    "content_filter": FinishReason.CONTENT_FILTER,
}
_BROKEN_FINISH_REASONS = frozenset({"abort", "aborted", "cancelled", "error", "failed", "modelunloaded", "userstopped"})


def request_body(prompt: Prompt, model: str) -> bytes:
    """The JSON body of a streaming request. Raises `TypeError` for text that is not valid Unicode."""
    body: dict[str, object] = {
        "model": model,
        "messages": messages(prompt),
        "max_tokens": prompt.max_output_tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if prompt.temperature is not None:
        body["temperature"] = prompt.temperature
    if prompt.stop:
        body["stop"] = prompt.stop
    return orjson.dumps(body)


def messages(prompt: Prompt) -> list[dict[str, str]]:
    """Instructions and turns; neighbours of one role become one message, because many chat templates refuse them."""
    merged: list[tuple[Role, list[str]]] = []
    if prompt.instructions:
        merged.append((Role.SYSTEM, [prompt.instructions]))
    for turn in prompt.turns:
        if merged and merged[-1][0] is turn.role:
            merged[-1][1].append(turn.text)
        else:
            merged.append((turn.role, [turn.text]))
    if prompt.prefill:  # a model of one's own goes on from an assistant message that comes last
        merged.append((Role.ASSISTANT, [prompt.prefill]))
    return [{"role": role.value, "content": "\n\n".join(texts)} for role, texts in merged]


class ChatStream:
    """One streamed completion as it is read: what each event means, and whether the stream may end there.

    The end marker is a choice's `finish_reason`. `[DONE]` alone is none: servers send it after a failure too.
    """

    def __init__(self, provider: str, asked_model: str) -> None:
        self._provider = provider
        self._asked_model = asked_model
        self._is_started = False
        self._has_text = False
        self._has_reasoning = False
        self._high_surrogate = ""
        self._thoughts = ThoughtFilter()
        self._finish: FinishReason | None = None
        self._usage: Usage | None = None
        self.is_done = False
        """Whether nothing more can come."""
        self.tokens_seen = 0
        """Deltas of text or of reasoning: what a token timeout waits for."""

    @property
    def is_finished(self) -> bool:
        """Whether the end marker was read; only usage can follow."""
        return self._finish is not None

    @property
    def is_empty(self) -> bool:
        """Whether nothing was said and nothing held it back."""
        return not self._has_text and self._finish is not FinishReason.CONTENT_FILTER

    def take(self, event: SseEvent) -> list[ProviderEvent]:
        """What `event` says. Raises the `ProviderError` it announces, or `StreamCut` if it makes no sense."""
        if self.is_done:
            return []
        if event.data == END_OF_STREAM:
            self.is_done = True
            return []
        chunk = self._read(event)
        taken: list[ProviderEvent] = []
        if not self._is_started:
            self._is_started = True
            taken.append(self._started(chunk.get("model")))
        choices = chunk.get("choices")
        if choices and isinstance(choices, list) and isinstance(choices[0], dict) and not self.is_finished:
            self._take_choice(choices[0], taken)
        usage = chunk.get("usage")
        if usage:
            self._usage = _usage(usage) or self._usage
        return taken

    def end(self, *, prompt_tokens: int, context_tokens: int | None) -> list[ProviderEvent]:
        """The last events, once nothing more comes. Raises `StreamCut`, `EmptyResponse` or `ContextTooLong`.

        `context_tokens` is what the model was loaded with, where known: a full context is told only by silence.
        """
        if self.is_empty:
            raise self._why_empty(prompt_tokens, context_tokens)
        if self._finish is None:
            raise StreamCut(provider=self._provider)
        last: list[ProviderEvent] = [UsageReported(self._usage)] if self._usage else []
        return [*last, Finished(self._finish)]

    def _read(self, event: SseEvent) -> dict[str, object]:
        try:
            chunk = orjson.loads(event.data)
        except orjson.JSONDecodeError:
            chunk = self._read_leniently(event)
        if event.event == "error" or not isinstance(chunk, dict) or chunk.get("error"):
            raise classify(self._provider, 200, complaint_from(chunk))
        return chunk

    def _read_leniently(self, event: SseEvent) -> object:
        """As JSON with halves of surrogate pairs in it, which servers written in JavaScript send."""
        try:
            return json.loads(event.data)
        except (ValueError, RecursionError):
            pass
        if event.event == "error":
            return event.data.decode("utf-8", "replace")
        raise StreamCut("The provider's stream holds something that is not JSON.", provider=self._provider)

    def _started(self, answering: object) -> Started:
        model = answering if isinstance(answering, str) and answering else self._asked_model
        warnings: tuple[str, ...] = ()
        if not is_same_model(self._asked_model, model):
            warnings = (f"model {self._asked_model!r} was asked for, {model!r} answers",)
        return Started(self._provider, model, warnings)

    def _take_choice(self, choice: dict[str, object], taken: list[ProviderEvent]) -> None:
        delta = choice.get("delta")
        text = ""
        if isinstance(delta, dict):
            content = delta.get("content") or delta.get("refusal")
            if isinstance(content, str):
                text = content
            if delta.get("reasoning_content") or delta.get("reasoning"):
                self._has_reasoning = True
                self.tokens_seen += 1
        reason = choice.get("finish_reason")
        if isinstance(reason, str) and reason:
            if reason.lower() in _BROKEN_FINISH_REASONS:
                raise StreamCut(f"The provider stopped with {reason!r}.", provider=self._provider)
            self._finish = _FINISH_REASONS.get(reason, FinishReason.STOP)
        if text or self._high_surrogate:
            self.tokens_seen += 1
            text = self._thoughts.feed(self._whole_characters(text))
            self._has_reasoning = self._has_reasoning or self._thoughts.is_thinking
        if self.is_finished:
            text += self._thoughts.end()
        if text:
            self._has_text = True
            taken.append(TextDelta(text))

    def _whole_characters(self, text: str) -> str:
        """`text` with its surrogate pairs joined, across deltas too; a half that stays alone becomes U+FFFD."""
        text = self._high_surrogate + text
        self._high_surrogate = ""
        if text.isascii():
            return text
        if not self.is_finished and "\ud800" <= text[-1] <= "\udbff":
            self._high_surrogate = text[-1]
            text = text[:-1]
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")

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
        if self._has_reasoning and self._finish is FinishReason.LENGTH:
            return EmptyResponse(
                "The model spent all its output tokens on reasoning: allow more, or turn its reasoning off.",
                provider=self._provider,
            )
        return EmptyResponse(provider=self._provider)


def is_same_model(asked: str, answering: str) -> bool:
    """Whether two names can mean one model: LM Studio adds `@quantization` to keys and `:2` to second instances."""
    return _bare(asked) == _bare(answering)


def _bare(model: str) -> str:
    return model.partition("@")[0].partition(":")[0].lower()


def _usage(usage: object) -> Usage | None:
    """Counts of the whole prompt, cached tokens included. None when the server only pretends to count."""
    if not isinstance(usage, dict):
        return None
    read, written = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if not is_count(read) or not is_count(written) or read + written <= 0:
        return None
    of_input = usage.get("prompt_tokens_details")
    of_output = usage.get("completion_tokens_details")
    return openai_usage(read, written, of_input, of_output)


def openai_usage(read: int, written: int, of_input: object, of_output: object) -> Usage:
    """OpenAI's totals include their parts, and other servers leave the parts out or send null."""
    cached = min(_part(of_input, "cached_tokens"), read)
    return Usage(
        input_tokens=read,
        output_tokens=written,
        cached_input_tokens=cached,
        cache_write_tokens=min(_part(of_input, "cache_write_tokens"), read - cached),
        reasoning_tokens=min(_part(of_output, "reasoning_tokens"), written),
    )


def is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _part(details: object, name: str) -> int:
    value = details.get(name) if isinstance(details, dict) else None
    return value if is_count(value) else 0
