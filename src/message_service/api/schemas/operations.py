"""For whoever runs the service: its providers, its stores, its queue."""

from typing import Literal

from pydantic import BaseModel, Field


class ProviderShape(BaseModel):
    """One instance of a provider, in the eyes of all workers together."""

    provider: str
    host: str | None = None
    tier: int = Field(description="Lower ones are asked first.")
    breaker: Literal["closed", "half_open", "open"] = Field(description="`open`: left alone for a while.")
    reason: str | None = Field(None, description="Code of the error that opened it.")
    retry_after_seconds: float | None = Field(None, description="Until it is asked again.")
    in_flight: int = Field(description="Replies asked of it now.")
    most_in_flight: int | None = None
    first_token_seconds: float | None = Field(None, description="Moving average of the time to the first token.")
    is_reachable: bool | None = Field(None, description="Unset: nobody has looked yet.")
    models: list[str] = Field(description="Ready to answer.")
    context_tokens: int | None = None
    detail: str


class ProvidersShape(BaseModel):
    object: Literal["list"]
    data: list[ProviderShape]
    workers: int = Field(description="Workers that told of their providers within the last ten seconds.")
    detail: str | None = Field(None, description="Why `data` is empty.")


class DependencyShape(BaseModel):
    status: Literal["ok", "down"]
    latency_ms: float | None = None
    detail: str | None = None


class QueueShape(BaseModel):
    status: Literal["ok", "full", "unknown"]
    waiting: int
    most_waiting: int


class ReadyShape(BaseModel):
    status: Literal["ready", "degraded", "overloaded", "unavailable"]
    detail: str
    dependencies: dict[str, DependencyShape]
    queue: QueueShape
