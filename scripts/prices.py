"""Prints the price table kept in the package, made of genai-prices as it is installed: `make prices`."""

import json
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from importlib.metadata import version
from typing import Any

from genai_prices.data import providers
from genai_prices.types import (
    ClauseAnd,
    ClauseOr,
    ConditionalPrice,
    MatchLogic,
    ModelInfo,
    ModelPrice,
    StartDateConstraint,
    TieredPrices,
)

PROVIDERS = ("anthropic", "openai")
"""The ones there are adapters for."""

PICODOLLARS_A_TOKEN = 1_000_000
"""In one dollar a million tokens."""

Price = Decimal | TieredPrices | None


def clause(match: MatchLogic) -> dict[str, Any]:
    if isinstance(match, ClauseOr):
        return {"or": [clause(one) for one in match.or_]}
    if isinstance(match, ClauseAnd):
        return {"and": [clause(one) for one in match.and_]}
    return dict(vars(match))


def eras(model: ModelInfo) -> Iterator[dict[str, Any]]:
    """Standard rates; those for batches, priority and the like are for requests we do not make."""
    dated = model.prices if isinstance(model.prices, list) else [ConditionalPrice(prices=model.prices)]
    for one in dated:
        if one.constraint is not None and not isinstance(one.constraint, StartDateConstraint):
            raise SystemExit(f"{model.id}: prices that depend on the time of day are not understood")
        since = one.constraint.start_date.isoformat() if one.constraint is not None else None
        yield {"since": since, "tiers": tiers(one.prices)}


def tiers(price: ModelPrice) -> list[list[int]]:
    """`[above_tokens, input, cached_input, cache_write, output]`. What has no price of its own costs as input does."""
    classes: list[Price] = [
        price.input_mtok,
        price.input_mtok if price.cache_read_mtok is None else price.cache_read_mtok,
        price.input_mtok if price.cache_write_mtok is None else price.cache_write_mtok,
        price.output_mtok,
    ]
    starts = {0} | {tier.start for one in classes if isinstance(one, TieredPrices) for tier in one.tiers}
    return [[start, *(picodollars(one, start) for one in classes)] for start in sorted(starts)]


def picodollars(price: Price, start: int) -> int:
    if price is None:
        raise SystemExit("an era without a price")
    if isinstance(price, TieredPrices):
        price = next((tier.price for tier in reversed(price.tiers) if start >= tier.start), price.base)
    exact = price * PICODOLLARS_A_TOKEN
    if exact != int(exact):
        raise SystemExit(f"{price} USD for a million tokens is not a whole number of picodollars a token")
    return int(exact)


def is_for_text(model: ModelInfo) -> bool:
    dated = model.prices if isinstance(model.prices, list) else [ConditionalPrice(prices=model.prices)]
    return all(one.prices.input_mtok is not None and one.prices.output_mtok is not None for one in dated)


def table(today: date) -> dict[str, Any]:
    known = {provider.id: provider for provider in providers}
    return {
        "source": "genai-prices",
        "version": version("genai-prices"),
        "date": today.isoformat(),
        "unit": "picodollars a token; a tier is [above_tokens, input, cached_input, cache_write, output]",
        "providers": {
            name: [
                {"id": model.id, "match": clause(model.match), "eras": list(eras(model))}
                for model in known[name].models
                if is_for_text(model)
            ]
            for name in PROVIDERS
        },
    }


def as_text(document: dict[str, Any]) -> str:
    """JSON with a line for each model, so that a renewal shows what changed."""
    head = [f'"{field}": {json.dumps(document[field])},' for field in ("source", "version", "date", "unit")]
    body = [
        f'"{name}": [\n' + ",\n".join(json.dumps(model) for model in models) + "\n]"
        for name, models in document["providers"].items()
    ]
    return "\n".join(["{", *head, '"providers": {', ",\n".join(body), "}", "}", ""])


if __name__ == "__main__":
    sys.stdout.write(as_text(table(datetime.now(UTC).date())))
