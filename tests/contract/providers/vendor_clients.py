"""The vendors' own clients reading the same streams: what they make of one is what ours has to make of it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import anthropic
import openai

from message_service.messages.reply import FinishReason, Usage
from message_service.providers.provider import Prompt

OWN_REASONS = {
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "completed": FinishReason.STOP,
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "max_tokens": FinishReason.LENGTH,
}


@dataclass(frozen=True, slots=True)
class Heard:
    """What a client says was streamed."""

    text: str
    finish: FinishReason
    usage: Usage


def _instructed(asked: Prompt) -> list[dict[str, str]]:
    return [{"role": turn.role.value, "content": turn.text} for turn in asked.turns]


async def hear_chat(url: str, asked: Prompt) -> Heard:
    text, finish, usage = "", None, None
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0) as client:
        messages: Any = [{"role": "system", "content": asked.instructions}, *_instructed(asked)]
        stream = await client.chat.completions.create(
            model="tiny",
            messages=messages,
            max_tokens=asked.max_output_tokens,
            temperature=asked.temperature,
            stream=True,
            stream_options={"include_usage": True},
        )
        async for chunk in stream:
            for choice in chunk.choices:
                text += choice.delta.content or ""
                finish = choice.finish_reason or finish
            usage = chunk.usage or usage
    assert finish is not None
    assert usage is not None
    details = usage.prompt_tokens_details
    cached = (details.cached_tokens or 0) if details else 0
    return Heard(
        text, OWN_REASONS[finish], Usage(usage.prompt_tokens, usage.completion_tokens, cached_input_tokens=cached)
    )


async def hear_responses(url: str, asked: Prompt) -> Heard:
    text, response = "", None
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0) as client:
        turns: Any = _instructed(asked)
        stream = await client.responses.create(
            model="tiny",
            instructions=asked.instructions,
            input=turns,
            max_output_tokens=max(asked.max_output_tokens, 16),
            temperature=asked.temperature,
            store=False,
            stream=True,
        )
        async for event in stream:
            if event.type == "response.output_text.delta":
                text += event.delta
            elif event.type == "response.completed":
                response = event.response
    assert response is not None
    assert response.usage is not None
    assert response.output_text == text
    details = response.usage.input_tokens_details
    usage = Usage(
        response.usage.input_tokens,
        response.usage.output_tokens,
        cached_input_tokens=details.cached_tokens if details else 0,
    )
    return Heard(text, OWN_REASONS[str(response.status)], usage)


async def hear_messages(url: str, asked: Prompt) -> Heard:
    async with (
        anthropic.AsyncAnthropic(base_url=url, api_key="k", max_retries=0) as client,
        client.messages.stream(
            model="tiny",
            system=asked.instructions or "",
            messages=_instructed(asked),  # type: ignore[arg-type]  # plain JSON
            max_tokens=asked.max_output_tokens,
        ) as stream,
    ):
        text = "".join([piece async for piece in stream.text_stream])
        message = await stream.get_final_message()
    cached = message.usage.cache_read_input_tokens or 0
    written = message.usage.cache_creation_input_tokens or 0
    usage = Usage(
        message.usage.input_tokens + cached + written,
        message.usage.output_tokens,
        cached_input_tokens=cached,
        cache_write_tokens=written,
    )
    return Heard(text, OWN_REASONS[str(message.stop_reason)], usage)


HEARERS: dict[str, Callable[[str, Prompt], Awaitable[Heard]]] = {
    "chat": hear_chat,
    "responses": hear_responses,
    "messages": hear_messages,
}
