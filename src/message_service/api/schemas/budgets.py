"""What a user may use, and has used."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from message_service.api.schemas.fields import Incoming

_Limit = Annotated[int, Field(ge=0, le=10**18)]


class SetLimits(Incoming):
    """What a user may use. Null: as much as they like."""

    tokens_per_day: _Limit | None = None
    tokens_per_month: _Limit | None = None
    cost_nano_usd_per_day: _Limit | None = Field(None, description="In nanodollars: 10^-9 USD.")
    cost_nano_usd_per_month: _Limit | None = None

    model_config = ConfigDict(json_schema_extra={"examples": [{"tokens_per_day": 200_000}]})


class AmountShape(BaseModel):
    tokens: int
    cost_nano_usd: int


class RemainingShape(BaseModel):
    """Null: as much as they like."""

    tokens: int | None
    cost_nano_usd: int | None


class SpanShape(BaseModel):
    name: str = Field(description="`2026-11-25` or `2026-11`.")
    used: AmountShape
    reserved: AmountShape = Field(description="Set aside for replies that have not ended.")
    remaining: RemainingShape = Field(description="Of the limit, after what was used and set aside.")
    resets_at: datetime


class BudgetShape(BaseModel):
    user_id: str
    is_own: bool = Field(description="Whether `limits` were set for this user, or are everybody's.")
    limits: SetLimits
    day: SpanShape
    month: SpanShape


class OwnLimitsShape(BaseModel):
    object: Literal["limits"]
    messages_per_minute: int = Field(description="Messages that may be posted in any minute.")
    budget: BudgetShape | None = Field(None, description="Unset: the service keeps no budgets.")
