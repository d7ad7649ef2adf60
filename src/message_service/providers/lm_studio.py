"""LM Studio, and any other server of one's own that speaks chat completions."""

import asyncio
from collections.abc import AsyncGenerator, Sequence

import aiohttp
from pydantic import SecretStr

from message_service.errors import (
    ModelUnavailable,
    ProviderAuthFailed,
    ProviderError,
    ProviderRequestInvalid,
    ProviderTimeout,
)
from message_service.providers.chat_completions import ChatStream, request_body
from message_service.providers.lm_studio_models import LmStudioModels, ModelList
from message_service.providers.provider import Capabilities, Prompt, ProviderEvent, ProviderHealth
from message_service.providers.sse import SseEvent
from message_service.providers.upstream import EventResponse, post_for_events

NAME = "lm_studio"
USAGE_GRACE_SECONDS = 2.0
"""Time for usage to follow the end marker; no reply is held up for it any longer."""


class LmStudioProvider:
    """One LM Studio server, through its OpenAI-compatible chat completions.

    Which model answers: the one the prompt names, else `model`, else the first that is loaded. The session
    is lent: see `upstream.provider_session`.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        api_key: SecretStr | None,
        model: str | None,
        first_token_timeout_seconds: float,
        token_timeout_seconds: float,
        *,
        name: str = NAME,
    ) -> None:
        self.name = name
        self._session = session
        self._url = url.rstrip("/")
        self._model = model
        self._first_token_timeout_seconds = first_token_timeout_seconds
        self._token_timeout_seconds = token_timeout_seconds
        self._headers = {"Authorization": f"Bearer {api_key.get_secret_value().strip()}"} if api_key else {}
        self._models = LmStudioModels(session, self._url, provider=name, headers=self._headers)

    async def stream(self, prompt: Prompt) -> AsyncGenerator[ProviderEvent, None]:
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._first_token_timeout_seconds
        model = prompt.model or self._model or await self._first_ready()
        answer = ChatStream(self.name, model)
        async with post_for_events(
            self._session,
            f"{self._url}/v1/chat/completions",
            provider=self.name,
            headers=self._headers | ({"X-Request-ID": prompt.attempt_id} if prompt.attempt_id else {}),
            body=self._body(prompt, model),
            deadline=deadline,
        ) as response:
            while not answer.is_done and (events := await self._read(response, answer, deadline)) is not None:
                tokens_before, was_finished = answer.tokens_seen, answer.is_finished
                for event in events:
                    for taken in answer.take(event):
                        yield taken
                # Counted from here, so that the time our own reader took is not held against the provider.
                if answer.is_finished:
                    deadline = deadline if was_finished else clock() + USAGE_GRACE_SECONDS
                elif answer.tokens_seen > tokens_before:
                    deadline = clock() + self._token_timeout_seconds
        context_tokens = await self._context_tokens(model) if answer.is_empty else None
        for taken in answer.end(prompt_tokens=prompt.prompt_tokens, context_tokens=context_tokens):
            yield taken

    async def capabilities(self, model: str | None = None) -> Capabilities:
        models = await self._models.get()
        wanted = model or self._model
        found = models.find(wanted) if wanted else next(iter(models.ready), None)
        if found is None:
            return Capabilities(model=None, can_prefill=True)
        return Capabilities(
            model=found.name,
            context_tokens=found.context_tokens,
            parallel_replies=found.parallel_replies,
            can_prefill=True,
        )

    async def count_tokens(self, prompt: Prompt) -> int | None:  # noqa: ARG002  # its REST API has no counter
        return None

    async def health(self) -> ProviderHealth:
        clock = asyncio.get_running_loop().time
        asked_at = clock()
        try:
            models = await self._models.look()
        except ProviderError as fault:
            return ProviderHealth(
                provider=self.name, is_reachable=fault.status is not None, detail=_trouble(self.name, fault)
            )
        contexts = [model.context_tokens for model in models.ready if model.context_tokens]
        return ProviderHealth(
            provider=self.name,
            is_reachable=True,
            models=tuple(model.name for model in models.ready),
            context_tokens=min(contexts, default=None),
            latency_seconds=clock() - asked_at,
            detail=_readiness(models, self._model),
        )

    async def close(self) -> None:
        """End a look at the models that is under way. The session is not ours to close."""
        await self._models.close()

    def _body(self, prompt: Prompt, model: str) -> bytes:
        try:
            return request_body(prompt, model)
        except TypeError as fault:
            raise ProviderRequestInvalid("The prompt is not valid Unicode text.", provider=self.name) from fault

    async def _read(self, response: EventResponse, answer: ChatStream, deadline: float) -> list[SseEvent] | None:
        try:
            return await response.read(deadline)
        except ProviderError as fault:
            if answer.is_finished:
                return None  # the reply is whole, only its usage is lost
            if not isinstance(fault, ProviderTimeout):
                raise
            silence = (
                f"It went silent for {self._token_timeout_seconds:g} s."
                if answer.tokens_seen
                else f"No token came within {self._first_token_timeout_seconds:g} s."
            )
            raise ProviderTimeout(f"{fault.sentence} {silence}", provider=self.name) from fault

    async def _first_ready(self) -> str:
        models = await self._models.get()
        if not models.ready:
            raise ModelUnavailable(_readiness(models, None), provider=self.name)
        return models.ready[0].name

    async def _context_tokens(self, model: str) -> int | None:
        try:
            found = (await self._models.get()).find(model)
        except ProviderError:
            return None
        return found.context_tokens if found else None


def lm_studio_providers(
    session: aiohttp.ClientSession,
    urls: Sequence[str],
    api_key: SecretStr | None,
    model: str | None,
    first_token_timeout_seconds: float,
    token_timeout_seconds: float,
) -> tuple[LmStudioProvider, ...]:
    """One provider a URL, named `lm_studio`, `lm_studio-2`, ..."""
    return tuple(
        LmStudioProvider(
            session,
            url,
            api_key,
            model,
            first_token_timeout_seconds,
            token_timeout_seconds,
            name=NAME if number == 1 else f"{NAME}-{number}",
        )
        for number, url in enumerate(urls, start=1)
    )


def _readiness(models: ModelList, wanted: str | None) -> str:
    """What a person has to know, and to do, about the models."""
    if wanted and models.ready and not models.find(wanted):
        loaded = ", ".join(model.name for model in models.ready)
        return f"The configured model {wanted} is not loaded ({loaded} is): load it with `lms load {wanted}`."
    if models.ready:
        return f"Ready with {wanted or models.ready[0].name}."
    key = wanted or next(iter(models.unloaded), None)
    if key:
        return f"LM Studio runs but has no model loaded: load one in its window or with `lms load {key}`."
    return "LM Studio runs but has no model: download one in its window or with `lms get`, then load it."


def _trouble(name: str, fault: ProviderError) -> str:
    if isinstance(fault, ProviderAuthFailed):
        return "LM Studio refuses our token: set MESSAGE_SERVICE_LM_STUDIO_API_KEY to one of its API tokens."
    if fault.status is not None:
        return fault.detail
    return (
        f"Nothing answers at the address of {name}: start its server (in LM Studio's Developer page or with "
        "`lms server start`), or correct MESSAGE_SERVICE_LM_STUDIO_URL."
    )
