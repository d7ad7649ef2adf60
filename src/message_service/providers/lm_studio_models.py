"""Which models LM Studio has ready, and how large a context each was loaded with."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import aiohttp

from message_service.errors import ProviderConnectFailed, ProviderError
from message_service.providers.reply_reader import is_same_model
from message_service.providers.upstream import get_json

FRESH_SECONDS = 5.0
TIMEOUT_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class ReadyModel:
    """A language model that answers without being loaded first."""

    name: str
    context_tokens: int | None = None
    """What it was loaded with, where the server tells: less than it was trained for, as a rule."""
    parallel_replies: int | None = None
    """Slots it was loaded with; where the context is one pool, they share it."""


@dataclass(frozen=True, slots=True)
class ModelList:
    """What one look found."""

    ready: tuple[ReadyModel, ...] = ()
    unloaded: tuple[str, ...] = ()
    """Language models it has on disk."""
    names: frozenset[str] | None = None
    """Every name of a model that it has, loaded or not. None: a server that does not tell."""

    def lacks(self, name: str) -> bool:
        """Whether it told all it has, and this is not among it."""
        return self.names is not None and not self.has(name)

    def has(self, name: str) -> bool:
        known = self.names if self.names is not None else {model.name for model in self.ready}
        return any(is_same_model(name, one) or is_same_model(one, name) for one in known)

    def find(self, name: str) -> ReadyModel | None:
        """The model of this name, with the least of what its instances were loaded with.

        One model can be loaded twice, with other settings: after its idle time, or because a request loaded it
        before somebody did by hand. Nobody says which instance answers.
        """
        instances = [model for model in self.ready if is_same_model(name, model.name)]
        if not instances:
            return None
        return ReadyModel(
            instances[0].name,
            min((instance.context_tokens for instance in instances if instance.context_tokens), default=None),
            min((instance.parallel_replies for instance in instances if instance.parallel_replies), default=None),
        )


class LmStudioModels:
    """The model list of one server, asked for at most every `FRESH_SECONDS`, by one caller for all who wait.

    Knows three generations of the listing: `/api/v1/models` (LM Studio 0.4), `/api/v0/models` (0.3.6), and
    OpenAI's `/v1/models`, which other servers have too and which does not tell what is loaded.
    """

    def __init__(self, session: aiohttp.ClientSession, url: str, *, provider: str, headers: Mapping[str, str]) -> None:
        self._session = session
        self._url = url
        self._provider = provider
        self._headers = headers
        self._list = ModelList()
        self._fresh_until = 0.0
        self._look: asyncio.Task[ModelList] | None = None

    async def get(self) -> ModelList:
        """The list, at most `FRESH_SECONDS` old. Raises `ProviderError`."""
        if asyncio.get_running_loop().time() < self._fresh_until:
            return self._list
        return await self.look()

    async def look(self) -> ModelList:
        """The list as it is now. Raises `ProviderError`."""
        if self._look is None:
            self._look = asyncio.create_task(self._ask())
            self._look.add_done_callback(self._forget)
        look = self._look
        try:
            # Shielded: one caller that goes away must not take the answer from the others.
            return await asyncio.shield(look)
        except asyncio.CancelledError:
            if not look.cancelled():
                raise
            raise ProviderConnectFailed("The provider was closed.", provider=self._provider) from None

    async def close(self) -> None:
        if self._look is not None:
            self._look.cancel()
            await asyncio.wait([self._look])

    def _forget(self, look: asyncio.Task[ModelList]) -> None:
        self._look = None
        if not look.cancelled():
            look.exception()  # retrieved, because every caller may have gone away

    async def _ask(self) -> ModelList:
        for path, read in _LISTINGS:
            try:
                listing = await get_json(
                    self._session,
                    self._url + path,
                    provider=self._provider,
                    headers=self._headers,
                    timeout_seconds=TIMEOUT_SECONDS,
                )
            except ProviderError as fault:
                if fault.status in (400, 404, 405, 501):
                    continue
                raise
            models = read(listing)
            if models is not None:
                self._list = models
                if models.ready:  # nothing ready is looked at again each time: somebody is about to load a model
                    self._fresh_until = asyncio.get_running_loop().time() + FRESH_SECONDS
                return models
        raise ProviderConnectFailed(
            "What answers at the provider's address lists no models, so it is not LM Studio: check its URL.",
            provider=self._provider,
            status=404,
        )


def read_v1(listing: object) -> ModelList | None:
    """`/api/v1/models`. None if `listing` is not one: LM Studio answers 200 at addresses it does not know."""
    entries = _entries(listing, "models")
    if entries is None or not all("loaded_instances" in entry for entry in entries):
        return None
    ready: list[ReadyModel] = []
    unloaded: list[str] = []
    names: set[str] = set()
    for entry in entries:
        names.add(str(entry.get("key")))
        if entry.get("type") != "llm":
            continue
        instances = _entries(entry, "loaded_instances") or []
        for instance in instances:
            settings = instance.get("config")
            settings = settings if isinstance(settings, dict) else {}
            ready.append(
                ReadyModel(
                    str(instance.get("id")),
                    _positive(settings.get("context_length")),
                    _positive(settings.get("parallel")),
                )
            )
        if not instances:
            unloaded.append(str(entry.get("key")))
    return ModelList(tuple(ready), tuple(unloaded), frozenset(names | {model.name for model in ready}))


def read_v0(listing: object) -> ModelList | None:
    """`/api/v0/models`; None if `listing` is not one."""
    entries = _entries(listing, "data")
    if entries is None or not all("state" in entry for entry in entries):
        return None
    models = [entry for entry in entries if entry.get("type") in ("llm", "vlm")]
    return ModelList(
        tuple(
            ReadyModel(
                str(model.get("id")),
                _positive(model.get("loaded_context_length")) or _positive(model.get("max_context_length")),
            )
            for model in models
            if model["state"] == "loaded"
        ),
        tuple(str(model.get("id")) for model in models if model["state"] != "loaded"),
        frozenset(str(entry.get("id")) for entry in entries),
    )


def read_openai(listing: object) -> ModelList | None:
    """`/v1/models`; None if `listing` is not one. llama.cpp adds the context of a slot as `meta.n_ctx`."""
    entries = _entries(listing, "data")
    if entries is None:
        return None
    ready = []
    for entry in entries:
        name = str(entry.get("id"))
        if "embed" in name.lower():
            continue
        meta = entry.get("meta")
        ready.append(ReadyModel(name, _positive(meta.get("n_ctx")) if isinstance(meta, dict) else None))
    return ModelList(tuple(ready))


_LISTINGS: tuple[tuple[str, Callable[[object], ModelList | None]], ...] = (
    ("/api/v1/models", read_v1),
    ("/api/v0/models", read_v0),
    ("/v1/models", read_openai),
)


def _entries(listing: object, key: str) -> list[dict[str, object]] | None:
    entries = listing.get(key) if isinstance(listing, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        return None
    return entries


def _positive(value: object) -> int | None:
    return value if isinstance(value, int) and value > 0 else None
