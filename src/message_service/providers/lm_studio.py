"""LM Studio, and any other server of one's own that speaks chat completions."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import aiohttp
from pydantic import SecretStr

from message_service.errors import ModelNotFound, ModelUnavailable, ProviderAuthFailed, ProviderError
from message_service.providers.chat_completions import ChatStream, request_body
from message_service.providers.lm_studio_models import LmStudioModels, ModelList
from message_service.providers.provider import Capabilities, Prompt, ProviderEvent, ProviderHealth
from message_service.providers.reply_stream import Patience, read_reply, to_json

NAME = "lm_studio"


class LmStudioProvider:
    """One LM Studio server, through its OpenAI-compatible chat completions.

    Which model answers: the one the prompt names, else `model`, else the first that is loaded. The session
    is lent: see `connections.provider_session`.
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
        window_tokens: int | None = None,
        name: str = NAME,
    ) -> None:
        """`window_tokens` is how long prompt and reply may become together: health tells when the context is less."""
        self.name = name
        self._window_tokens = window_tokens
        self._session = session
        self._url = url.rstrip("/")
        self._model = model
        self._patience = Patience(first_token_timeout_seconds, token_timeout_seconds)
        self._headers = {"Authorization": f"Bearer {api_key.get_secret_value().strip()}"} if api_key else {}
        self._models = LmStudioModels(session, self._url, provider=name, headers=self._headers)

    async def stream(self, prompt: Prompt) -> AsyncGenerator[ProviderEvent, None]:
        deadline = asyncio.get_running_loop().time() + self._patience.first_token_seconds
        model = prompt.model or self._model or await self._first_ready()
        reader = ChatStream(self.name, model)
        pieces = read_reply(
            self._session,
            f"{self._url}/v1/chat/completions",
            provider=self.name,
            headers=self._headers | ({"X-Request-ID": prompt.attempt_id} if prompt.attempt_id else {}),
            body=to_json(self.name, request_body(prompt, model)),
            reader=reader,
            patience=self._patience,
            deadline=deadline,
        )
        try:
            async with aclosing(pieces):
                async for piece in pieces:
                    for event in piece:
                        yield event
        except ModelNotFound as fault:
            raise await self._without_model(prompt.model or self._model, fault) from fault
        context_tokens = await self._context_tokens(model) if reader.is_empty else None
        for event in reader.end(prompt_tokens=prompt.prompt_tokens, context_tokens=context_tokens):
            yield event

    async def capabilities(self, model: str | None = None) -> Capabilities:
        models = await self._models.get()
        wanted = model or self._model or next((ready.name for ready in models.ready), None)
        found = models.find(wanted) if wanted else None
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
        is_missing = self._model is not None and models.lacks(self._model)
        contexts = [model.context_tokens for model in models.ready if model.context_tokens]
        return ProviderHealth(
            provider=self.name,
            is_reachable=True,
            models=() if is_missing else tuple(model.name for model in models.ready),
            context_tokens=min(contexts, default=None),
            latency_seconds=clock() - asked_at,
            detail=_readiness(models, self._model, self._window_tokens),
        )

    async def close(self) -> None:
        """End a look at the models that is under way. The session is not ours to close."""
        await self._models.close()

    async def _first_ready(self) -> str:
        models = await self._models.get()
        if not models.ready:
            raise ModelUnavailable(_readiness(models, None, None), provider=self.name)
        return models.ready[0].name

    async def _without_model(self, named: str | None, fault: ModelNotFound) -> ProviderError:
        """What it means that there is no such model: LM Studio says the same of one that it has and did not load."""
        try:
            models = await self._models.look()
        except ProviderError:
            return ModelUnavailable(fault.detail, provider=self.name, status=fault.status)
        if named is None or models.has(named):
            return ModelUnavailable(_readiness(models, named, None), provider=self.name, status=fault.status)
        return ModelNotFound(_no_such_model(models, named), provider=self.name, status=fault.status)

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
    *,
    window_tokens: int | None = None,
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
            window_tokens=window_tokens,
            name=NAME if number == 1 else f"{NAME}-{number}",
        )
        for number, url in enumerate(urls, start=1)
    )


def _readiness(models: ModelList, wanted: str | None, window_tokens: int | None) -> str:
    """What a person has to know, and to do, about the models."""
    if wanted and models.lacks(wanted):
        return _no_such_model(models, wanted)
    if wanted and models.ready and not models.find(wanted):
        loaded = ", ".join(model.name for model in models.ready)
        return f"The configured model {wanted} is not loaded ({loaded} is): load it with `lms load {wanted}`."
    if models.ready:
        name = wanted or models.ready[0].name
        found = models.find(name)
        if found and found.context_tokens and window_tokens and found.context_tokens < window_tokens:
            # As when a request loads it: that takes the model's default context, not the one it had before.
            return (
                f"Ready with {name}, but it was loaded with a context of {found.context_tokens:,} tokens and prompts "
                f"may need {window_tokens:,}: `lms unload {name}`, then "
                f"`lms load {name} --context-length {window_tokens}`, or lower MESSAGE_SERVICE_CONTEXT_TOKENS."
            )
        return f"Ready with {name}."
    key = wanted or next(iter(models.unloaded), None)
    if key:
        return f"LM Studio runs but has no model loaded: load one in its window or with `lms load {key}`."
    return "LM Studio runs but has no model: download one in its window or with `lms get`, then load it."


def _no_such_model(models: ModelList, wanted: str) -> str:
    known = sorted(models.names or {model.name for model in models.ready})
    there = f" (there are {', '.join(known)})" if known else ""
    return (
        f"The server has no model {wanted}{there}: correct MESSAGE_SERVICE_LM_STUDIO_MODEL, or download it with "
        f"`lms get {wanted}`."
    )


def _trouble(name: str, fault: ProviderError) -> str:
    if isinstance(fault, ProviderAuthFailed):
        return "LM Studio refuses our token: set MESSAGE_SERVICE_LM_STUDIO_API_KEY to one of its API tokens."
    if fault.status is not None:
        return fault.detail
    return (
        f"Nothing answers at the address of {name}: start its server (in LM Studio's Developer page or with "
        "`lms server start`), or correct MESSAGE_SERVICE_LM_STUDIO_URL."
    )
