"""OpenAI, and any other host that speaks one of its two dialects."""

from collections.abc import Collection
from typing import Literal
from urllib.parse import urlsplit

import aiohttp
from pydantic import SecretStr

from message_service.providers import chat_completions, responses
from message_service.providers.chat_completions import ChatStream, merged_turns
from message_service.providers.cloud import CloudProvider, Request, within, without
from message_service.providers.openai_models import openai_model
from message_service.providers.provider import Capabilities, Prompt
from message_service.providers.reply_stream import Patience
from message_service.providers.responses import MIN_OUTPUT_TOKENS, ResponseStream

NAME = "openai"
URL = "https://api.openai.com/v1"
_OWN_HOSTS = ("api.openai.com", ".api.openai.com")

Dialect = Literal["auto", "responses", "chat_completions"]


class OpenAiProvider(CloudProvider):
    """OpenAI through its Responses API, other hosts through chat completions, unless `dialect` says which.

    `url` is what paths like `/responses` are put behind; a bare host gets `/v1`, as everybody has it.
    """

    vendor = "OpenAI"
    setting = "OPENAI"

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        api_key: SecretStr | None,
        model: str,
        patience: Patience,
        *,
        dialect: Dialect = "auto",
        name: str = NAME,
    ) -> None:
        address = urlsplit(url)
        headers = {"Authorization": f"Bearer {api_key.get_secret_value().strip()}"} if api_key else {}
        super().__init__(
            session, url if address.path.strip("/") else f"{url.rstrip('/')}/v1", headers, model, patience, name=name
        )
        host = address.hostname or ""
        self._is_openai = host == _OWN_HOSTS[0] or host.endswith(_OWN_HOSTS[1])
        if not self._is_openai:
            self.vendor = f"The host {host}"
        self._uses_responses = dialect == "responses" or (dialect == "auto" and self._is_openai)

    def request(self, prompt: Prompt, model: str, left_out: Collection[str]) -> Request:
        traits = openai_model(model)
        prompt, lowered = within(prompt, model, traits.max_output_tokens)
        left_out = {*left_out, *(() if traits.takes_temperature else ("temperature",))}
        if self._uses_responses:
            body = responses.request_body(prompt, model, effort=traits.effort)
            left_out = left_out | self._reasoning_decides(left_out, traits.effort)
            warnings = lowered + without(body, left_out, model)
            if prompt.max_output_tokens < MIN_OUTPUT_TOKENS:
                warnings += (f"max_output_tokens was raised to {MIN_OUTPUT_TOKENS}, the fewest this API takes",)
            response = ResponseStream(self.name, model, stop=prompt.stop, warnings=warnings)
            return Request(f"{self._url}/responses", body, response)
        body = chat_completions.request_body(prompt, model)
        if self._is_openai or "max_tokens" in left_out:
            body["max_completion_tokens"] = body.pop("max_tokens")
        own_stop = prompt.stop if "stop" in left_out else ()
        if own_stop:
            del body["stop"]
        if self._is_openai and traits.effort is not None:
            body["reasoning_effort"] = traits.effort
        warnings = lowered + without(body, left_out, model)
        chat = ChatStream(self.name, model, stop=own_stop, warnings=warnings)
        return Request(f"{self._url}/chat/completions", body, chat)

    def _reasoning_decides(self, left_out: Collection[str], effort: str | None) -> set[str]:
        """A model that will reason after all takes no temperature either."""
        return {"temperature"} if effort is not None and "reasoning" in left_out else set()

    def _capabilities(self, model: str) -> Capabilities:
        traits = openai_model(model)
        return Capabilities(
            model=model,
            context_tokens=traits.context_tokens,
            max_output_tokens=traits.max_output_tokens,
            takes_temperature=traits.takes_temperature and "temperature" not in self._left_out.get(model, ()),
        )

    def _count_request(self, prompt: Prompt, model: str) -> tuple[str, dict[str, object]] | None:
        if not self._uses_responses:
            return None
        body: dict[str, object] = {
            "model": model,
            "input": [{"role": role.value, "content": text} for role, text in merged_turns(prompt.turns)],
        }
        if prompt.instructions:
            body["instructions"] = prompt.instructions
        return f"{self._url}/responses/input_tokens", body

    def _models_url(self) -> str:
        return f"{self._url}/models"
