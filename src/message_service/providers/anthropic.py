"""Anthropic, through its Messages API."""

from collections.abc import Collection
from typing import Literal

import aiohttp
from pydantic import SecretStr

from message_service.providers.anthropic_messages import (
    CACHE_BREAKPOINTS,
    MAX_TEMPERATURE,
    MessageStream,
    own_stop,
    prompt_body,
    request_body,
)
from message_service.providers.anthropic_models import anthropic_model
from message_service.providers.cloud import CloudProvider, Request, within, without
from message_service.providers.provider import Capabilities, Prompt
from message_service.providers.reply_stream import Patience

NAME = "anthropic"
URL = "https://api.anthropic.com"
_MAX_LISTED = 1000

Version = Literal["2023-06-01", "2026-10-21"]


class AnthropicProvider(CloudProvider):
    """Anthropic in either version of its API: the newer one takes no sampling parameters, and the key as a bearer's."""

    vendor = "Anthropic"
    setting = "ANTHROPIC"

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        api_key: SecretStr | None,
        model: str,
        patience: Patience,
        *,
        version: Version,
        name: str = NAME,
    ) -> None:
        headers: dict[str, str] = {"anthropic-version": version}
        self._takes_sampling = version == "2023-06-01"
        if api_key is not None:
            key = api_key.get_secret_value().strip()
            headers |= {"x-api-key": key} if self._takes_sampling else {"Authorization": f"Bearer {key}"}
        super().__init__(session, url.rstrip("/").removesuffix("/v1"), headers, model, patience, name=name)

    def request(self, prompt: Prompt, model: str, left_out: Collection[str]) -> Request:
        traits = anthropic_model(model)
        prompt, lowered = within(prompt, model, traits.max_output_tokens)
        body = request_body(prompt, model, thinking=traits.thinking, provider=self.name)
        if not self._takes_temperature(model):
            left_out = {*left_out, "temperature"}
        warnings = lowered + without(body, left_out, model)
        if "temperature" in body and prompt.temperature is not None and prompt.temperature > MAX_TEMPERATURE:
            warnings += (f"temperature was lowered to {MAX_TEMPERATURE:g}, the highest this API takes",)
        reader = MessageStream(
            self.name,
            model,
            stop=own_stop(prompt),
            warnings=warnings,
            skips_space=prompt.prefill != prompt.prefill.rstrip(),
        )
        return Request(f"{self._url}/v1/messages", body, reader)

    def _capabilities(self, model: str) -> Capabilities:
        traits = anthropic_model(model)
        return Capabilities(
            model=model,
            context_tokens=traits.context_tokens,
            max_output_tokens=traits.max_output_tokens,
            takes_temperature=self._takes_temperature(model) and "temperature" not in self._left_out.get(model, ()),
            can_prefill=traits.can_prefill,
            cache_breakpoints=CACHE_BREAKPOINTS,
        )

    def _takes_temperature(self, model: str) -> bool:
        return self._takes_sampling and anthropic_model(model).takes_temperature

    def _count_request(self, prompt: Prompt, model: str) -> tuple[str, dict[str, object]]:
        return f"{self._url}/v1/messages/count_tokens", prompt_body(prompt, model, provider=self.name)

    def _models_url(self) -> str:
        return f"{self._url}/v1/models?limit={_MAX_LISTED}"
