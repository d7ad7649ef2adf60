"""The OpenAI chat-completions dialect as LM Studio, llama.cpp and many others speak it. No I/O."""

from collections.abc import Iterable
from typing import TypeGuard

from message_service.errors import StreamCut
from message_service.messages.message import Role
from message_service.messages.reply import FinishReason, Usage
from message_service.providers.provider import Prompt, ProviderEvent, Turn
from message_service.providers.reply_reader import ReplyReader
from message_service.providers.sse import SseEvent

END_OF_STREAM = b"[DONE]"

_FINISH_REASONS = {
    "length": FinishReason.LENGTH,
    "max_tokens": FinishReason.LENGTH,
    "content_filter": FinishReason.CONTENT_FILTER,
}
_BROKEN_FINISH_REASONS = frozenset({"abort", "aborted", "cancelled", "error", "failed", "modelunloaded", "userstopped"})


def request_body(prompt: Prompt, model: str) -> dict[str, object]:
    """The body of a streaming request."""
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
        body["stop"] = list(prompt.stop)
    return body


def messages(prompt: Prompt) -> list[dict[str, str]]:
    """Instructions and turns, neighbours of one role joined, because many chat templates refuse them."""
    turns = (Turn(Role.SYSTEM, prompt.instructions), *prompt.turns) if prompt.instructions else prompt.turns
    merged = merged_turns(turns)
    if prompt.prefill:  # a model of one's own goes on from an assistant message that comes last
        merged.append((Role.ASSISTANT, prompt.prefill))
    return [{"role": role.value, "content": text} for role, text in merged]


def merged_turns(turns: Iterable[Turn]) -> list[tuple[Role, str]]:
    """Who says what, with the neighbours of one role as one."""
    merged: list[tuple[Role, list[str]]] = []
    for turn in turns:
        if merged and merged[-1][0] is turn.role:
            merged[-1][1].append(turn.text)
        else:
            merged.append((turn.role, [turn.text]))
    return [(role, "\n\n".join(texts)) for role, texts in merged]


class ChatStream(ReplyReader):
    """One streamed completion.

    The end marker is a choice's `finish_reason`. `[DONE]` alone is none: servers send it after a failure too.
    """

    _has_refused = False

    def _take(self, event: SseEvent, taken: list[ProviderEvent]) -> None:
        if event.data == END_OF_STREAM:
            self.is_done = True
            return
        chunk = self._parse(event)
        self._begin(chunk.get("model"), taken)
        choices = chunk.get("choices")
        if choices and isinstance(choices, list) and isinstance(choices[0], dict) and not self.is_finished:
            self._take_choice(choices[0], taken)
        usage = chunk.get("usage")
        if usage:
            self._usage = _usage(usage) or self._usage

    def _take_choice(self, choice: dict[str, object], taken: list[ProviderEvent]) -> None:
        delta = choice.get("delta")
        text = ""
        if isinstance(delta, dict):
            content = delta.get("content")
            if not content and (content := delta.get("refusal")):
                self._has_refused = True
            if isinstance(content, str):
                text = content
            if delta.get("reasoning_content") or delta.get("reasoning"):
                self._think()
        reason = choice.get("finish_reason")
        if isinstance(reason, str) and reason:
            if reason.lower() in _BROKEN_FINISH_REASONS:
                raise StreamCut(f"The provider stopped with {reason!r}.", provider=self._provider)
            self._finish = _FINISH_REASONS.get(reason, FinishReason.STOP)
            if self._has_refused and self._finish is FinishReason.STOP:
                self._finish = FinishReason.CONTENT_FILTER
        if text or self.is_finished:
            self._say(text, taken, is_last=self.is_finished)


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
