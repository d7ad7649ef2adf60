"""Every adapter that speaks to a server, opened the same way, for tests that hold for all of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import aiohttp
from pydantic import SecretStr

from message_service.providers.anthropic import AnthropicProvider
from message_service.providers.anthropic_messages import MessageStream
from message_service.providers.chat_completions import ChatStream
from message_service.providers.lm_studio import LmStudioProvider
from message_service.providers.openai import OpenAiProvider
from message_service.providers.provider import Provider
from message_service.providers.reply_reader import ReplyReader
from message_service.providers.reply_stream import Patience
from message_service.providers.responses import ResponseStream
from tests.contract.providers.fault_server import FaultServer, Step
from tests.contract.providers.reading import Reading, assert_in_contract, prompt, read

KEY = "sk-a-key-that-nobody-may-see"
READERS: dict[str, type[ReplyReader]] = {"chat": ChatStream, "responses": ResponseStream, "messages": MessageStream}

Open = Callable[[aiohttp.ClientSession, str, str, Patience], Provider]


@dataclass(frozen=True, slots=True)
class Adapter:
    dialect: str
    """As recordings are named."""
    path: str
    """Where it posts, on a server whose base URL is bare."""
    open: Open

    def __call__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        model: str = "tiny",
        *,
        first_token_seconds: float = 20,
        token_seconds: float = 20,
    ) -> Provider:
        return self.open(session, url, model, Patience(first_token_seconds, token_seconds))


def _lm_studio(session: aiohttp.ClientSession, url: str, model: str, patience: Patience) -> Provider:
    return LmStudioProvider(session, url, SecretStr(KEY), model, patience.first_token_seconds, patience.token_seconds)


def _openai(session: aiohttp.ClientSession, url: str, model: str, patience: Patience) -> Provider:
    return OpenAiProvider(session, url, SecretStr(KEY), model, patience, dialect="responses")


def _openai_compatible(session: aiohttp.ClientSession, url: str, model: str, patience: Patience) -> Provider:
    return OpenAiProvider(session, url, SecretStr(KEY), model, patience)


def _anthropic(session: aiohttp.ClientSession, url: str, model: str, patience: Patience) -> Provider:
    return AnthropicProvider(session, url, SecretStr(KEY), model, patience, version="2026-10-21")


def _older_anthropic(session: aiohttp.ClientSession, url: str, model: str, patience: Patience) -> Provider:
    return AnthropicProvider(session, url, SecretStr(KEY), model, patience, version="2023-06-01")


ADAPTERS = {
    "lm_studio": Adapter("chat", "/v1/chat/completions", _lm_studio),
    "openai": Adapter("responses", "/v1/responses", _openai),
    "openai_compatible": Adapter("chat", "/v1/chat/completions", _openai_compatible),
    "anthropic": Adapter("messages", "/v1/messages", _anthropic),
    "older_anthropic": Adapter("messages", "/v1/messages", _older_anthropic),
}


async def read_from(
    session: aiohttp.ClientSession, server: FaultServer, adapter: Adapter, steps: Sequence[Step], **asked: object
) -> Reading:
    """What `adapter` makes of `server` playing these steps; `asked` goes into the prompt."""
    server.routes[adapter.path] = steps
    reading = await read(adapter(session, server.url).stream(prompt(**asked)))  # type: ignore[arg-type]  # as given
    assert_in_contract(reading)
    return reading
