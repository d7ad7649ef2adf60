"""What tokens cost. Integers only: prices in picodollars (10^-12 USD) a token, costs in nanodollars (10^-9 USD)."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from functools import lru_cache
from importlib.resources import files
from typing import Any

from message_service.messages.reply import Usage
from message_service.usage.matching import Clause, is_match, spellings

FREE_PROVIDERS = frozenset({"lm_studio", "scripted"})
"""They run on hardware that is paid for otherwise."""

_PICO_PER_NANO = 1000
_MODELS_REMEMBERED = 1024
_INSTANCE_NUMBER = re.compile(r"-[0-9]+$")


@dataclass(frozen=True, slots=True)
class Rates:
    """Picodollars a token, for prompts of more than `above_tokens` tokens: the whole request pays these."""

    above_tokens: int
    input: int
    cached_input: int
    cache_write: int
    output: int

    def cost_pico_usd(self, usage: Usage) -> int:
        """Reasoning is output; cached and written tokens are parts of the input, each at its own price."""
        return (
            usage.uncached_input_tokens * self.input
            + usage.cached_input_tokens * self.cached_input
            + usage.cache_write_tokens * self.cache_write
            + usage.output_tokens * self.output
        )


@dataclass(frozen=True, slots=True)
class Era:
    """The rates of one model since a day (UTC), cheapest tier first."""

    since: date | None
    tiers: tuple[Rates, ...]

    def rates_for(self, input_tokens: int) -> Rates:
        fitting = self.tiers[0]
        for rates in self.tiers:
            if input_tokens > rates.above_tokens:
                fitting = rates
        return fitting


@dataclass(frozen=True, slots=True)
class ModelPrices:
    id: str
    match: Clause
    eras: tuple[Era, ...]
    """Oldest first. Before the first of them its rates count too."""

    def era_at(self, day: date) -> Era:
        current = self.eras[0]
        for era in self.eras:
            if era.since is None or era.since <= day:
                current = era
        return current


class PriceTable:
    """Prices by provider and model. `name` says which table it is: its source, version and date."""

    def __init__(self, name: str, providers: Mapping[str, tuple[ModelPrices, ...]]) -> None:
        self.name = name
        self._providers = providers
        self._find = lru_cache(_MODELS_REMEMBERED)(self._search)

    def cost_nano_usd(self, provider: str, model: str | None, usage: Usage, at: datetime) -> int | None:
        """Cost of one request, rounded half up once. None: the price is not known, which is not the same as 0.

        `provider` may be one of several instances, such as `openai-2`.
        """
        family = family_of(provider)
        if family in FREE_PROVIDERS:
            return 0
        prices = self._find(family, model) if model is not None else None
        if prices is None:
            return None
        rates = prices.era_at(at.astimezone(UTC).date()).rates_for(usage.input_tokens)
        return (rates.cost_pico_usd(usage) + _PICO_PER_NANO // 2) // _PICO_PER_NANO

    def most_nano_usd(
        self, provider: str, model: str | None, prompt_tokens: int, output_tokens: int, at: datetime
    ) -> int | None:
        """The most that a request may cost: with a cache none of the prompt is read from, and perhaps all written to.

        None: the price is not known.
        """
        uncached = Usage(prompt_tokens, output_tokens)
        written = replace(uncached, cache_write_tokens=prompt_tokens)
        costs = [self.cost_nano_usd(provider, model, usage, at) for usage in (uncached, written)]
        return max((cost for cost in costs if cost is not None), default=None)

    def dearest_nano_usd(
        self, candidates: Iterable[tuple[str, str | None]], prompt_tokens: int, output_tokens: int, at: datetime
    ) -> int:
        """The most at the dearest of the candidates (provider and model) whose price is known; 0 when none is."""
        costs = [
            self.most_nano_usd(provider, model, prompt_tokens, output_tokens, at) for provider, model in candidates
        ]
        return max((cost for cost in costs if cost is not None), default=0)

    def _search(self, family: str, model: str) -> ModelPrices | None:
        for name in spellings(model):
            for prices in self._providers.get(family, ()):
                if is_match(name, prices.match):
                    return prices
        return None


def family_of(provider: str) -> str:
    """`openai` of `openai-2`: further instances of a provider have its prices."""
    return _INSTANCE_NUMBER.sub("", provider)


def load_prices() -> PriceTable:
    """The table that comes with this version (`make prices` renews it)."""
    return table_from(json.loads(files(__package__).joinpath("prices.json").read_text("utf-8")))


def table_from(document: Mapping[str, Any]) -> PriceTable:
    """The table that a document in the form of `prices.json` holds."""
    return PriceTable(
        f"{document['source']} {document['version']} of {document['date']}",
        {name: tuple(map(_model_from, models)) for name, models in document["providers"].items()},
    )


def _model_from(entry: Mapping[str, Any]) -> ModelPrices:
    eras = tuple(
        Era(
            date.fromisoformat(era["since"]) if era["since"] else None,
            tuple(Rates(*tier) for tier in era["tiers"]),
        )
        for era in entry["eras"]
    )
    return ModelPrices(entry["id"], entry["match"], eras)
