"""What the adapters of hosted APIs have in common: one model unless the prompt names another, and a key."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Collection, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace

import aiohttp

from message_service.errors import ModelNotFound, ProviderAuthFailed, ProviderError, ProviderRequestInvalid
from message_service.providers.provider import Capabilities, Prompt, ProviderEvent, ProviderHealth
from message_service.providers.refusals import refused, refused_for_good
from message_service.providers.reply_reader import ReplyReader, is_same_model
from message_service.providers.reply_stream import Patience, read_reply, to_json
from message_service.providers.upstream import get_json, post_json

TIMEOUT_SECONDS = 5.0
"""For answers that no model has to be waited for."""
_NOT_THERE = (404, 405, 501)


@dataclass(frozen=True, slots=True)
class Request:
    url: str
    body: dict[str, object]
    reader: ReplyReader


class CloudProvider(ABC):
    """A provider behind one address, with one model by default.

    What a model takes is known by family and turns out wrong with time: a parameter that it refuses by name is
    left out, with a warning, and from then on where it is not only the value that it refuses.
    """

    vendor: str
    """As people write it."""
    setting: str
    """What the names of its settings begin with."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        headers: Mapping[str, str],
        model: str,
        patience: Patience,
        *,
        name: str,
    ) -> None:
        """The session is lent: see `connections.provider_session`."""
        self.name = name
        self._session = session
        self._url = url.rstrip("/")
        self._headers = headers
        self._model = model
        self._patience = patience
        self._left_out: dict[str, frozenset[str]] = {}

    async def stream(self, prompt: Prompt) -> AsyncGenerator[ProviderEvent, None]:
        deadline = asyncio.get_running_loop().time() + self._patience.first_token_seconds
        model = prompt.model or self._model
        if prompt.prefill and not self._capabilities(model).can_prefill:
            raise ProviderRequestInvalid(f"{model} cannot go on from a beginning.", provider=self.name)
        left_out = self._left_out.get(model, frozenset())
        while True:
            request = self.request(prompt, model, left_out)
            pieces = read_reply(
                self._session,
                request.url,
                provider=self.name,
                headers={**self._headers, **({"X-Client-Request-Id": prompt.attempt_id} if prompt.attempt_id else {})},
                body=to_json(self.name, request.body),
                reader=request.reader,
                patience=self._patience,
                deadline=deadline,
            )
            try:
                async with aclosing(pieces):
                    async for piece in pieces:
                        for event in piece:
                            yield event
            except ProviderRequestInvalid as fault:
                names = refused(request.body, fault.detail)
                if request.reader.is_started or not names:
                    raise
                left_out |= names
                self._left_out[model] = self._left_out.get(model, frozenset()) | refused_for_good(names, fault.detail)
                continue
            except ModelNotFound as fault:
                raise self._without_model(model, fault) from fault
            break
        for event in request.reader.end(prompt_tokens=prompt.prompt_tokens, context_tokens=None):
            yield event

    async def capabilities(self, model: str | None = None) -> Capabilities:
        return self._capabilities(model or self._model)

    async def count_tokens(self, prompt: Prompt) -> int | None:
        asked = self._count_request(prompt, prompt.model or self._model)
        if asked is None:
            return None
        url, body = asked
        try:
            counted = await post_json(
                self._session,
                url,
                provider=self.name,
                headers=self._headers,
                body=to_json(self.name, body),
                timeout_seconds=TIMEOUT_SECONDS,
            )
        except ProviderError as fault:
            if fault.status in _NOT_THERE and not isinstance(fault, ModelNotFound):
                return None
            raise
        tokens = counted.get("input_tokens") if isinstance(counted, dict) else None
        return tokens if isinstance(tokens, int) and tokens > 0 else None

    async def health(self) -> ProviderHealth:
        clock = asyncio.get_running_loop().time
        asked_at = clock()
        try:
            listing = await get_json(
                self._session,
                self._models_url(),
                provider=self.name,
                headers=self._headers,
                timeout_seconds=TIMEOUT_SECONDS,
            )
        except ProviderError as fault:
            if fault.status not in _NOT_THERE:
                return ProviderHealth(
                    provider=self.name, is_reachable=fault.status is not None, detail=self._trouble(fault)
                )
            listing = None  # a host that lists no models may have this one all the same
        names = _names(listing)
        is_listed = names is None or any(is_same_model(self._model, name) for name in names)
        return ProviderHealth(
            provider=self.name,
            is_reachable=True,
            models=(self._model,) if is_listed else (),
            context_tokens=self._capabilities(self._model).context_tokens,
            latency_seconds=clock() - asked_at,
            detail=f"Ready with {self._model}." if is_listed else self._no_such_model(self._model),
        )

    async def close(self) -> None:  # noqa: B027  # the same for all of them
        """It holds nothing of its own."""

    @abstractmethod
    def request(self, prompt: Prompt, model: str, left_out: Collection[str]) -> Request:
        """What is sent, without the parameters in `left_out`, or with what stands for them. Does no I/O."""

    @abstractmethod
    def _capabilities(self, model: str) -> Capabilities: ...

    @abstractmethod
    def _count_request(self, prompt: Prompt, model: str) -> tuple[str, dict[str, object]] | None:
        """Address and body; None where there is no counter."""

    @abstractmethod
    def _models_url(self) -> str: ...

    def _without_model(self, model: str, fault: ModelNotFound) -> ModelNotFound:
        return ModelNotFound(
            self._no_such_model(model),
            provider=self.name,
            status=fault.status,
            retry_after_seconds=fault.retry_after_seconds,
        )

    def _no_such_model(self, model: str) -> str:
        return f"{self.vendor} has no model {model} for this account: correct MESSAGE_SERVICE_{self.setting}_MODEL."

    def _trouble(self, fault: ProviderError) -> str:
        if isinstance(fault, ProviderAuthFailed):
            return f"{self.vendor} refuses our key: set MESSAGE_SERVICE_{self.setting}_API_KEY to a valid one."
        if fault.status is None:
            return f"{fault.detail} Check the network and MESSAGE_SERVICE_{self.setting}_BASE_URL."
        return fault.detail


def without(body: dict[str, object], left_out: Collection[str], model: str) -> tuple[str, ...]:
    """Take `left_out` from the body; a warning for each that was there."""
    dropped = [name for name in left_out if body.pop(name, None) is not None]
    return tuple(f"{name} was left out: {model} does not take it" for name in sorted(dropped))


def within(prompt: Prompt, model: str, most_tokens: int | None) -> tuple[Prompt, tuple[str, ...]]:
    """The prompt asking for no more output than the model can write, which it would refuse; a warning if it did."""
    if most_tokens is None or prompt.max_output_tokens <= most_tokens:
        return prompt, ()
    warning = f"max_output_tokens was lowered to {most_tokens}, the most that {model} writes"
    return replace(prompt, max_output_tokens=most_tokens), (warning,)


def _names(listing: object) -> list[str] | None:
    entries = listing.get("data") if isinstance(listing, dict) else None
    if not isinstance(entries, list):
        return None
    return [str(entry["id"]) for entry in entries if isinstance(entry, dict) and "id" in entry]
