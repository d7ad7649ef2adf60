"""All configuration, read once at start from the environment and `.env`, and passed to what needs it."""

from decimal import Decimal
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from message_service.errors import InvalidSettings
from message_service.setting_types import (
    ApiKey,
    CloudBaseUrl,
    Concurrency,
    LocalBaseUrls,
    MidstreamPolicy,
    ProviderName,
    ProviderNames,
    StrategyName,
    Tiers,
    Weights,
    is_loopback,
)

ENVIRONMENT_PREFIX = "MESSAGE_SERVICE_"

_TURNED_ON_BY = {
    "lm_studio": "lm_studio_url",
    "openai": "openai_api_key",
    "anthropic": "anthropic_api_key",
}


class Settings(BaseSettings):
    """Every setting with its unit, default and meaning; `message-service settings` prints them."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX,
        env_file=".env",
        extra="ignore",
        env_ignore_empty=True,
        frozen=True,
        hide_input_in_errors=True,
    )

    host: str = Field("127.0.0.1", description="Address the API listens on.")
    port: int = Field(8000, ge=0, le=65535, description="Port the API listens on; 0 picks a free one.")
    data_dir: Path = Field(Path(".data"), description="Folder the embedded servers keep their data in.")
    mongodb_url: SecretStr | None = Field(
        None, description="MongoDB replica set to use. Unset: `dev` starts an embedded one."
    )
    mongodb_database: str = Field("message_service", min_length=1, max_length=38, description="Database name.")
    redis_url: SecretStr | None = Field(None, description="Redis or Valkey to use. Unset: `dev` starts one.")
    gateway_key: SecretStr | None = Field(
        None,
        description="Shared secret the gateway sends as X-Gateway-Key. Required when `host` is not loopback.",
    )
    log_format: Literal["auto", "json", "text"] = Field(
        "auto", description="`auto` is text on a terminal and JSON elsewhere."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severe level logged.")

    rate_limit_per_minute: int = Field(100, ge=1, le=100_000, description="Messages a user may post in any 60 s.")
    max_body_bytes: int = Field(1_048_576, ge=1024, le=16_777_216, description="Largest request body taken, in bytes.")

    budgets: bool = Field(
        False,
        description="Keep budgets of tokens and money for each user; admins may set each user's. "
        "On by itself where one of the defaults below is set.",
    )
    budget_tokens_per_day: int | None = Field(
        None, ge=0, description="Tokens a user's replies may use in a day (UTC). Unset: as many as they like."
    )
    budget_tokens_per_month: int | None = Field(None, ge=0, description="The same for a calendar month.")
    budget_usd_per_day: Decimal | None = Field(
        None, ge=0, decimal_places=9, description="US dollars a user's replies may cost in a day (UTC)."
    )
    budget_usd_per_month: Decimal | None = Field(
        None, ge=0, decimal_places=9, description="The same for a calendar month."
    )

    max_in_process: int = Field(1000, ge=1, le=10_000, description="Replies one worker answers at the same time.")
    max_queued: int = Field(
        10_000, ge=1, le=1_000_000, description="Replies that may wait; asking for another is then refused with 503."
    )
    lease_seconds: float = Field(
        10, ge=1, le=300, description="How long a worker owns a reply without renewing; renewed three times as often."
    )
    sweep_interval_seconds: float = Field(
        0.5, ge=0.05, le=60, description="How often each worker looks for replies nobody is working on."
    )
    repair_interval_seconds: float = Field(
        30, ge=0.05, le=86_400, description="How often each worker checks that conversations and their replies agree."
    )
    max_attempts: int = Field(5, ge=1, le=50, description="Times a reply is tried before it fails.")
    reply_deadline_seconds: float = Field(
        600, ge=1, le=86_400, description="Time from asking for a reply until it fails if it is not done."
    )
    drain_seconds: float = Field(
        10, ge=0, le=600, description="Time a stopping worker gives its running replies before it hands them back."
    )
    worker_metrics_port: int | None = Field(
        None, ge=0, le=65535, description="Port a worker serves /metrics on, at `host`. Unset: not served."
    )

    context_tokens: int = Field(
        32_000, ge=256, le=2_000_000, description="Tokens of context a model is given, output reserve included."
    )
    output_reserve_tokens: int = Field(
        1024, ge=16, le=200_000, description="Tokens of the context kept free for the reply."
    )

    providers: ProviderNames = Field(
        (),
        description="Order of preference, comma-separated: `lm_studio`, `openai`, `anthropic`, `scripted`. "
        "Unset: every configured provider in this order, or `scripted` when none is.",
    )
    lm_studio_url: LocalBaseUrls = Field(
        (), description="LM Studio base URL, e.g. http://localhost:1234; comma-separated for several."
    )
    lm_studio_api_key: ApiKey | None = Field(None, description="LM Studio token, where it requires one.")
    lm_studio_model: str | None = Field(
        None, description="Model asked for when a request names none. Unset: the first one loaded."
    )
    openai_api_key: ApiKey | None = Field(None, description="OpenAI key; turns `openai` on.")
    openai_base_url: CloudBaseUrl | None = Field(
        None,
        description="Another host that speaks an OpenAI dialect, e.g. https://openrouter.ai/api/v1; turns `openai` on, "
        "with or without a key. Unset: https://api.openai.com/v1.",
    )
    openai_model: str = Field(
        "gpt-6-luna", min_length=1, max_length=200, description="Model asked for when a request names none."
    )
    openai_dialect: Literal["auto", "responses", "chat_completions"] = Field(
        "auto", description="`auto` speaks Responses to api.openai.com and chat completions to any other host."
    )
    anthropic_api_key: ApiKey | None = Field(None, description="Anthropic key; turns `anthropic` on.")
    anthropic_base_url: CloudBaseUrl | None = Field(
        None,
        description="Another host that speaks Anthropic's Messages API; turns `anthropic` on, with or without a key. "
        "Unset: https://api.anthropic.com.",
    )
    anthropic_model: str = Field(
        "claude-haiku-5-5", min_length=1, max_length=200, description="Model asked for when a request names none."
    )
    anthropic_version: Literal["2023-06-01", "2026-10-21"] = Field(
        "2026-10-21",
        description="Version of its API. Only the older one takes a temperature, and only of models up to 4.6.",
    )
    first_token_timeout_seconds: float = Field(
        60, gt=0, le=3600, description="Time a provider has until its first token."
    )
    token_timeout_seconds: float = Field(20, gt=0, le=600, description="Longest silence inside a provider's stream.")
    provider_strategy: StrategyName = Field(
        "priority",
        description="How a provider is chosen when a request does not say. `priority`: in the order of `providers`, "
        "hosts of one provider by affinity. `affinity`: the same conversation to the same host. `latency`: the less "
        "loaded of two. `weighted`: by `provider_weights`. `cost`: the cheapest by the price table, unknown prices "
        "last. `round_robin`: each in turn.",
    )
    provider_tiers: Tiers = Field(
        {},
        description="Tiers, e.g. `lm_studio=1,openai=2`: a strategy chooses within a tier, and a later tier is asked "
        "when an earlier one cannot. Unset: all are of tier 1, but `scripted`, unless it comes first, of tier 9.",
    )
    provider_weights: Weights = Field(
        {}, description="Shares for `weighted` and `affinity`, e.g. `lm_studio=3,openai=1`. Unset: 1 each."
    )
    provider_concurrency: Concurrency = Field(
        {},
        description="Most replies a worker asks of one host at the same time, e.g. `lm_studio=4,lm_studio-2=8`. Unset: "
        "as many as an LM Studio says it was loaded for, and no limit elsewhere.",
    )
    most_usd_per_reply: Decimal | None = Field(
        None,
        ge=0,
        decimal_places=9,
        description="No provider is asked where prompt and longest text together might cost more US dollars. A price "
        "that is not known keeps nobody out. Unset: no such limit.",
    )
    provider_retry_share: float = Field(
        0.2, ge=0, le=1, description="Failovers a worker may make, as a share of its requests, three a second besides."
    )
    midstream_policy: MidstreamPolicy = Field(
        "auto",
        description="When a provider fails after text was shown. `restart`: take it back and begin again elsewhere. "
        "`keep`: keep it as an incomplete reply. `continue`: go on elsewhere where the same model can, else `keep`. "
        "`auto`: `restart` up to 40 tokens or 2 s of text, then `keep`.",
    )
    breaker_failures: int = Field(
        5,
        ge=1,
        le=1000,
        description="Failures in a row after which a host is left alone. So is one that fails half its calls.",
    )
    breaker_open_seconds: float = Field(
        5, gt=0, le=60, description="How long it is left alone first; doubles with each failed probe, up to a minute."
    )
    scripted_tokens_per_second: float = Field(
        50, gt=0, le=1_000_000, description="Pace of the scripted provider, in words a second."
    )

    @model_validator(mode="after")
    def _require_proof_off_loopback(self) -> Self:
        if self.gateway_key is None and not is_loopback(self.host):
            raise ValueError(
                f"host {self.host} is reachable by others, so gateway_key must be set: "
                "without it anyone could claim to be any user"
            )
        if self.output_reserve_tokens >= self.context_tokens:
            raise ValueError("output_reserve_tokens must be smaller than context_tokens")
        for name in self.providers:
            if name not in self._configured:
                raise ValueError(f"providers names {name}, but {_TURNED_ON_BY[name]} is not set")
        return self

    @property
    def are_budgets_kept(self) -> bool:
        defaults = (
            self.budget_tokens_per_day,
            self.budget_tokens_per_month,
            self.budget_usd_per_day,
            self.budget_usd_per_month,
        )
        return self.budgets or any(one is not None for one in defaults)

    @property
    def enabled_providers(self) -> tuple[ProviderName, ...]:
        """Providers in order of preference; never empty."""
        return self.providers or tuple(name for name in self._configured if name != "scripted") or ("scripted",)

    @property
    def _configured(self) -> tuple[ProviderName, ...]:
        has: dict[ProviderName, bool] = {
            "lm_studio": bool(self.lm_studio_url),
            "openai": bool(self.openai_api_key or self.openai_base_url),
            "anthropic": bool(self.anthropic_api_key or self.anthropic_base_url),
            "scripted": True,
        }
        return tuple(name for name, is_configured in has.items() if is_configured)


def load_settings(**overrides: object) -> Settings:
    """Read the environment and `.env`. Raises `InvalidSettings` with one line a fault, never a secret's value."""
    try:
        return Settings(**overrides)  # type: ignore[arg-type]  # pydantic checks them
    except ValidationError as fault:
        lines = []
        for error in fault.errors(include_input=False, include_url=False):
            where = f"{ENVIRONMENT_PREFIX}{str(error['loc'][0]).upper()}: " if error["loc"] else ""
            lines.append(f"{where}{error['msg'].removeprefix('Value error, ')}")
        raise InvalidSettings("\n".join(lines)) from None
