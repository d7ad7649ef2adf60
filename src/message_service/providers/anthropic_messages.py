"""Anthropic's Messages API as it streams, and as it wants its prompts. No I/O."""

from collections.abc import Sequence

from message_service.errors import ProviderRequestInvalid
from message_service.messages.message import Role
from message_service.messages.reply import FinishReason, Usage
from message_service.providers.chat_completions import is_count, merged_turns
from message_service.providers.faults import classify, complaint_from
from message_service.providers.provider import Prompt, ProviderEvent, Turn
from message_service.providers.reply_reader import ReplyReader
from message_service.providers.sse import SseEvent

MAX_TEMPERATURE = 1.0
CACHE_BREAKPOINTS = 4
OPENING = "(The conversation begins.)"
"""Stands where a user's message must stand when the character spoke first."""
_EPHEMERAL = {"type": "ephemeral"}  # five minutes, the cheapest to write
_CACHED_MESSAGES = 2

_FINISH_REASONS = {
    "max_tokens": FinishReason.LENGTH,
    "model_context_window_exceeded": FinishReason.LENGTH,
    "pause_turn": FinishReason.LENGTH,
    "refusal": FinishReason.CONTENT_FILTER,
    "content_filter": FinishReason.CONTENT_FILTER,
}


def request_body(prompt: Prompt, model: str, *, thinking: str | None, provider: str) -> dict[str, object]:
    """The body of a streaming request. Raises `ProviderRequestInvalid` when nothing in it could be answered."""
    body: dict[str, object] = {
        **prompt_body(prompt, model, provider=provider),
        "max_tokens": prompt.max_output_tokens,
        "stream": True,
    }
    if prompt.temperature is not None:
        body["temperature"] = min(prompt.temperature, MAX_TEMPERATURE)
    if sequences := [sequence for sequence in prompt.stop if sequence.strip()]:
        body["stop_sequences"] = sequences
    if thinking is not None:
        body["thinking"] = {"type": thinking}
    return body


def prompt_body(prompt: Prompt, model: str, *, provider: str) -> dict[str, object]:
    """The part of a request that is counted as input.

    Breakpoints of the prompt cache: after the system prompt, after the last message before the newest, and after
    the newest. The first survives a moved window, the second a part of the newest that changes, the third makes
    another variant cheap. Each looks back over 20 blocks, which finds what the request before has written.
    """
    system, turns = _split(prompt)
    merged = merged_turns(turns)
    if not merged:
        raise ProviderRequestInvalid("The prompt holds no text to answer.", provider=provider)
    first_cached = len(merged) - _CACHED_MESSAGES
    messages = [
        _message(role, text, is_cached=position >= first_cached) for position, (role, text) in enumerate(merged)
    ]
    if prompt.prefill:
        messages.append(_message(Role.ASSISTANT, prompt.prefill.rstrip()))
    body: dict[str, object] = {"model": model, "messages": messages}
    if system:
        body["system"] = [_block(system, is_cached=True)]
    return body


def own_stop(prompt: Prompt) -> tuple[str, ...]:
    """The stop sequences that the API refuses, because they are blank."""
    return tuple(sequence for sequence in prompt.stop if not sequence.strip())


def _split(prompt: Prompt) -> tuple[str, list[Turn]]:
    """The system prompt, and turns of which the first is a user's and none is blank, both of which it insists on.

    System turns that open the conversation belong to the system prompt. A later one keeps its place, as a
    user's words: the system prompt is the beginning of what is cached and must not change.
    """
    turns = [turn for turn in prompt.turns if turn.text.strip()]
    opening = 0
    while opening < len(turns) and turns[opening].role is Role.SYSTEM:
        opening += 1
    system = [text for text in (prompt.instructions, *(turn.text for turn in turns[:opening])) if text and text.strip()]
    spoken = [Turn(Role.USER, turn.text) if turn.role is Role.SYSTEM else turn for turn in turns[opening:]]
    if spoken and spoken[0].role is Role.ASSISTANT:
        spoken.insert(0, Turn(Role.USER, OPENING))
    return "\n\n".join(system), spoken


def _message(role: Role, text: str, *, is_cached: bool = False) -> dict[str, object]:
    return {"role": role.value, "content": [_block(text, is_cached=is_cached)]}


def _block(text: str, *, is_cached: bool) -> dict[str, object]:
    return {"type": "text", "text": text, **({"cache_control": _EPHEMERAL} if is_cached else {})}


class MessageStream(ReplyReader):
    """One streamed message. The end marker is `message_stop`; a stop reason before it is none."""

    def __init__(
        self,
        provider: str,
        asked_model: str,
        *,
        stop: Sequence[str] = (),
        warnings: tuple[str, ...] = (),
        skips_space: bool = False,
    ) -> None:
        """`skips_space`: the prefill ended in white space, which the API does not take; the text must not repeat it."""
        super().__init__(provider, asked_model, stop=stop, warnings=warnings)
        self._skips_space = skips_space
        self._reason: FinishReason = FinishReason.STOP
        self._counts: dict[str, int] = {}

    def _take(self, event: SseEvent, taken: list[ProviderEvent]) -> None:
        chunk = self._parse(event)
        match chunk.get("type"):
            case "content_block_delta":
                self._take_delta(chunk.get("delta"), taken)
            case "content_block_start":
                self._take_delta(chunk.get("content_block"), taken)
            case "message_start":
                message = chunk.get("message")
                message = message if isinstance(message, dict) else {}
                self._begin(message.get("model"), taken)
                self._count(message.get("usage"))
            case "message_delta":
                delta = chunk.get("delta")
                reason = delta.get("stop_reason") if isinstance(delta, dict) else None
                if isinstance(reason, str):
                    self._reason = _FINISH_REASONS.get(reason, FinishReason.STOP)
                self._count(chunk.get("usage"))
            case "message_stop":
                self._begin(None, taken)
                self._finish = self._reason
                self._say("", taken, is_last=True)
                self.is_done = True
            case "error":
                raise classify(self._provider, 200, complaint_from(chunk))
            case _:
                pass  # `ping`, the end of a block, and what later versions may add

    def _take_delta(self, delta: object, taken: list[ProviderEvent]) -> None:
        self._begin(None, taken)
        if not isinstance(delta, dict):
            return
        if delta.get("thinking") or delta.get("signature"):
            self._think()
        text = delta.get("text")
        if isinstance(text, str) and text:
            if self._skips_space:
                text = text.lstrip()
                self._skips_space = not text
            self._say(text, taken)

    def _count(self, usage: object) -> None:
        """Counts are running totals: each report replaces those before, as far as it goes."""
        if not isinstance(usage, dict):
            return
        details = usage.get("output_tokens_details")
        thinking = details.get("thinking_tokens") if isinstance(details, dict) else None
        for name, value in (*usage.items(), ("thinking_tokens", thinking)):
            if is_count(value):
                self._counts[name] = value
        self._usage = self._counted()

    def _counted(self) -> Usage | None:
        """`input_tokens` counts only what no cache had to do with, so the whole is the sum of three."""
        get = self._counts.get
        read, written = get("cache_read_input_tokens", 0), get("cache_creation_input_tokens", 0)
        uncached, output = get("input_tokens", 0), get("output_tokens", 0)
        if uncached + read + written + output <= 0:
            return None
        return Usage(
            input_tokens=uncached + read + written,
            output_tokens=output,
            cached_input_tokens=read,
            cache_write_tokens=written,
            reasoning_tokens=min(get("thinking_tokens", 0), output),
        )
