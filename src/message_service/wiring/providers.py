"""The provider adapters, each with what the settings say of it."""

from collections.abc import Sequence

from aiohttp import ClientSession

from message_service.providers import anthropic, lm_studio, openai, scripted
from message_service.providers.provider import Provider
from message_service.providers.reply_stream import Patience
from message_service.setting_types import ProviderName
from message_service.settings import Settings


def providers_of(name: ProviderName, settings: Settings, session: ClientSession) -> Sequence[Provider]:
    """The adapters for one provider: several where it has several hosts."""
    patience = Patience(settings.first_token_timeout_seconds, settings.token_timeout_seconds)
    match name:
        case "lm_studio":
            return lm_studio.lm_studio_providers(
                session,
                settings.lm_studio_url,
                settings.lm_studio_api_key,
                settings.lm_studio_model,
                settings.first_token_timeout_seconds,
                settings.token_timeout_seconds,
                window_tokens=settings.context_tokens,
            )
        case "openai":
            openai_provider = openai.OpenAiProvider(
                session,
                settings.openai_base_url or openai.URL,
                settings.openai_api_key,
                settings.openai_model,
                patience,
                dialect=settings.openai_dialect,
            )
            return (openai_provider,)
        case "anthropic":
            anthropic_provider = anthropic.AnthropicProvider(
                session,
                settings.anthropic_base_url or anthropic.URL,
                settings.anthropic_api_key,
                settings.anthropic_model,
                patience,
                version=settings.anthropic_version,
            )
            return (anthropic_provider,)
        case "scripted":
            return (scripted.ScriptedProvider(settings.scripted_tokens_per_second),)
