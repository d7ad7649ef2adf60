"""What documents of several collections are made of."""

from datetime import datetime

from pydantic import BaseModel


class UsageFields(BaseModel):
    """What a row lacks counts as 0."""

    input_tokens: int
    output_tokens: int
    is_estimated: bool
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0


class AttemptFields(BaseModel):
    """One provider asked once. What a later version adds is None in older rows."""

    provider: str
    host: str | None = None
    model: str | None = None
    started_at: datetime
    first_token_at: datetime | None = None
    ended_at: datetime
    usage: UsageFields | None = None
    cost_nano_usd: int | None = None
    error: str | None = None
    warnings: list[str] | None = None


class AbandonedFields(BaseModel):
    """A claim that ran out, until the next one has booked what it used."""

    epoch: int
    claimed_at: datetime
    attempts: list[AttemptFields]


class SpanFields(BaseModel):
    name: str
    used: dict[str, int]
    reserved: dict[str, int]
