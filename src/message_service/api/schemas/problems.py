"""What went wrong, as RFC 9457 has it."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field


class FieldFaultShape(BaseModel):
    pointer: str
    detail: str


class QuotaShape(BaseModel):
    """Which budget does not allow it. Amounts are in `unit`."""

    unit: Literal["tokens", "cost_nano_usd"]
    period: Literal["day", "month"]
    limit: int
    remaining: int
    wanted: int = Field(description="What the reply may need.")
    resets_at: datetime


class ProblemShape(BaseModel):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    request_id: str
    retryable: bool
    errors: list[FieldFaultShape] | None = None
    quota: QuotaShape | None = Field(None, description="With `quota_exceeded`.")
