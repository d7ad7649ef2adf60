"""The provider that needs no model: the demo, the last fallback, and one whose behaviour a message can script."""

import asyncio
import re
from collections.abc import AsyncGenerator, Iterator
from itertools import islice, repeat
from typing import NoReturn

from message_service.errors import ProviderRequestInvalid
from message_service.messages.message import Role
from message_service.messages.reply import FinishReason, Usage
from message_service.providers.provider import (
    Capabilities,
    Finished,
    Prompt,
    ProviderEvent,
    ProviderHealth,
    Started,
    TextDelta,
    UsageReported,
)
from message_service.providers.script import DIRECTIVE, FAULTS, STALL, Fault, Script, ScriptInvalid, read_script
from message_service.providers.small_talk import small_talk

MODEL = "scripted"
_WORD = re.compile(r"\s*\S{1,16}|\s+")
"""A word with the space before it, as a model's tokens are cut; joined they are the text again."""


class ScriptedProvider:
    """Answers the same prompt with the same text, one word at a time, `tokens_per_second` words a second.

    Words keep to a schedule counted from the start, so a slow reader does not make later words late. A message
    may script the reply (`providers.script` has the grammar); otherwise it makes small talk. A word is a token.
    """

    name = "scripted"

    def __init__(self, tokens_per_second: float) -> None:
        self._words_per_second = tokens_per_second

    async def stream(self, prompt: Prompt) -> AsyncGenerator[ProviderEvent, None]:
        if prompt.prefill:
            raise ProviderRequestInvalid("Prepared text cannot go on from another beginning.", provider=self.name)
        script = self._script(prompt)
        fault = script.fault_on(prompt.attempt)
        first_at = asyncio.get_running_loop().time() + script.first_word_seconds
        if fault and fault.after_words is None:
            await _sleep_until(first_at)
            await self._fail(fault, script)
        yield Started(self.name, MODEL, _warnings(prompt))
        words, finish = written(prompt, script)
        if fault:
            words = words[: fault.after_words]
        seconds_per_word = 1 / (script.words_per_second or self._words_per_second)
        for position, word in enumerate(words):
            await _sleep_until(first_at + position * seconds_per_word)
            yield TextDelta(word)
        if fault:
            await self._fail(fault, script)
        yield UsageReported(Usage(input_tokens=prompt.prompt_tokens, output_tokens=len(words)))
        yield Finished(finish)

    async def capabilities(self, model: str | None = None) -> Capabilities:  # noqa: ARG002  # there is only one
        return Capabilities(model=MODEL, takes_temperature=False)

    async def count_tokens(self, prompt: Prompt) -> int | None:  # noqa: ARG002  # nothing here reads it as tokens
        return None

    async def health(self) -> ProviderHealth:
        return ProviderHealth(
            provider=self.name,
            is_reachable=True,
            models=(MODEL,),
            latency_seconds=0.0,
            detail="Ready; it answers with prepared text.",
        )

    async def close(self) -> None:
        """It holds nothing."""

    def _script(self, prompt: Prompt) -> Script:
        message = _last_user_text(prompt)
        try:
            return read_script(message) or Script()
        except ScriptInvalid as fault:
            return Script(text=f"I cannot follow that {DIRECTIVE} directive: {fault}.")

    async def _fail(self, fault: Fault, script: Script) -> NoReturn:
        if fault.kind == STALL:
            await asyncio.get_running_loop().create_future()
        kind = FAULTS[fault.kind]
        raise kind(
            f"{kind.sentence} (The message scripted this.)",
            provider=self.name,
            retry_after_seconds=script.retry_after_seconds,
        )


def written(prompt: Prompt, script: Script) -> tuple[list[str], FinishReason]:
    """The words of the reply, within `max_output_tokens` and up to the first stop sequence, and why it ends there."""
    text = script.text or small_talk(prompt.instructions, _last_user_text(prompt))
    limit = prompt.max_output_tokens
    source = islice(_repeated(text, None), script.words) if script.words else _repeated(text, script.repeat)
    words = list(islice(source, limit + 1))
    is_cut = len(words) > limit
    whole = "".join(words[:limit])
    ends = [at for sequence in prompt.stop if sequence and (at := whole.find(sequence)) >= 0]
    if ends:
        return _WORD.findall(whole[: min(ends)]), FinishReason.STOP
    return words[:limit], FinishReason.LENGTH if is_cut else script.finish


def _repeated(text: str, times: int | None) -> Iterator[str]:
    """The words of `text`, `times` over; None: without end."""
    yield from _WORD.findall(text)
    again = _WORD.findall(f" {text}")
    for _ in repeat(None) if times is None else repeat(None, times - 1):
        yield from again


def _last_user_text(prompt: Prompt) -> str:
    return next((turn.text for turn in reversed(prompt.turns) if turn.role is Role.USER), "")


def _warnings(prompt: Prompt) -> tuple[str, ...]:
    dropped = []
    if prompt.model not in (None, MODEL):
        dropped.append(f"model {prompt.model!r} is not here: {MODEL} answers")
    if prompt.temperature is not None:
        dropped.append("temperature has no effect here")
    return tuple(dropped)


async def _sleep_until(moment: float) -> None:
    """Wait for `moment` of the loop's clock; let others run even when it has passed."""
    await asyncio.sleep(max(0.0, moment - asyncio.get_running_loop().time()))
