"""OpenAI's Responses API as it streams. No I/O."""

from message_service.messages.reply import FinishReason, Usage
from message_service.providers.chat_completions import is_count, merged_turns, openai_usage
from message_service.providers.faults import classify, complaint_from
from message_service.providers.provider import Prompt, ProviderEvent
from message_service.providers.reply_reader import ReplyReader
from message_service.providers.sse import SseEvent

MIN_OUTPUT_TOKENS = 16
"""The API refuses to be asked for fewer."""
_REASONING = frozenset(
    {"response.reasoning_text.delta", "response.reasoning_summary_text.delta", "response.reasoning.delta"}
)
_POLICY_CODES = frozenset({"bio_policy", "cyber_policy", "misalignment_policy_violation", "content_policy_violation"})


def request_body(prompt: Prompt, model: str, *, effort: str | None) -> dict[str, object]:
    """The body of a streaming request that leaves nothing at the vendor. The API takes no stop sequences."""
    body: dict[str, object] = {
        "model": model,
        "input": [{"role": role.value, "content": text} for role, text in merged_turns(prompt.turns)],
        "max_output_tokens": max(prompt.max_output_tokens, MIN_OUTPUT_TOKENS),
        "store": False,
        "stream": True,
        "stream_options": {"include_obfuscation": False},
    }
    if prompt.instructions:
        body["instructions"] = prompt.instructions
    if prompt.temperature is not None:
        body["temperature"] = prompt.temperature
    if effort is not None:
        body["reasoning"] = {"effort": effort}
    if prompt.cache_key:
        body["prompt_cache_key"] = prompt.cache_key
    return body


class ResponseStream(ReplyReader):
    """One streamed response.

    The end markers are `response.completed`, `response.incomplete` and `response.failed`; whatever closes an
    item or a part of the text is none.
    """

    _has_refused = False
    _has_deltas = False

    def _take(self, event: SseEvent, taken: list[ProviderEvent]) -> None:
        if event.data == b"[DONE]":  # other servers end with it, whatever happened before
            self.is_done = True
            return
        chunk = self._parse(event)
        kind = chunk.get("type")
        if not isinstance(kind, str):
            kind = event.event
        if kind == "response.output_text.delta":
            self._take_text(chunk, taken)
        elif kind == "response.refusal.delta":
            self._has_refused = True
            self._take_text(chunk, taken)
        elif kind in _REASONING:
            self._begin(None, taken)
            self._think()
        elif kind == "error":
            raise classify(self._provider, 200, complaint_from(chunk))
        else:
            response = chunk.get("response")
            if isinstance(response, dict):
                self._take_response(kind, response, taken)

    def _take_text(self, chunk: dict[str, object], taken: list[ProviderEvent]) -> None:
        self._begin(None, taken)
        text = chunk.get("delta")
        if isinstance(text, str) and text:
            self._has_deltas = True
            self._say(text, taken)

    def _take_response(self, kind: str, response: dict[str, object], taken: list[ProviderEvent]) -> None:
        if kind == "response.failed":
            error = response.get("error")
            code = error.get("code") if isinstance(error, dict) else None
            if code not in _POLICY_CODES:
                raise classify(self._provider, 200, complaint_from({"error": error or "The response failed."}))
            self._end(FinishReason.CONTENT_FILTER, response, taken)
        elif kind == "response.incomplete":
            details = response.get("incomplete_details")
            reason = details.get("reason") if isinstance(details, dict) else None
            is_filtered = reason == "content_filter"
            self._end(FinishReason.CONTENT_FILTER if is_filtered else FinishReason.LENGTH, response, taken)
        elif kind == "response.completed":
            self._end(FinishReason.CONTENT_FILTER if self._has_refused else FinishReason.STOP, response, taken)
        else:
            self._begin(response.get("model"), taken)

    def _end(self, reason: FinishReason, response: dict[str, object], taken: list[ProviderEvent]) -> None:
        self._begin(response.get("model"), taken)
        # Some servers send no deltas for a text that was ready at once.
        text = "" if self._has_deltas else _text_of(response.get("output"))
        self._finish = reason
        self._usage = _usage(response.get("usage"))
        self._say(text, taken, is_last=True)
        self.is_done = True


def _text_of(output: object) -> str:
    """The whole text, out of a finished response."""
    parts: list[str] = []
    for item in output if isinstance(output, list) else ():
        content = item.get("content") if isinstance(item, dict) and item.get("type") == "message" else None
        for part in content if isinstance(content, list) else ():
            text = (part.get("text") or part.get("refusal")) if isinstance(part, dict) else None
            if isinstance(text, str):
                parts.append(text)
    return "".join(parts)


def _usage(usage: object) -> Usage | None:
    if not isinstance(usage, dict):
        return None
    read, written = usage.get("input_tokens"), usage.get("output_tokens")
    if not is_count(read) or not is_count(written) or read + written <= 0:
        return None
    return openai_usage(read, written, usage.get("input_tokens_details"), usage.get("output_tokens_details"))
