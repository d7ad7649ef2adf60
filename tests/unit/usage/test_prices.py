"""What tokens cost by the committed table, against the package it was made of."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import genai_prices
import pytest

from message_service.messages.reply import Usage
from message_service.usage import prices as prices_module
from message_service.usage.prices import PriceTable, load_prices, table_from

AT = datetime(2026, 11, 20, 12, tzinfo=UTC)
BOTH_KINDS_OF_INPUT = Usage(10_000, 700, cached_input_tokens=6_000, cache_write_tokens=1_000, reasoning_tokens=300)


@pytest.fixture(scope="module")
def table() -> PriceTable:
    return load_prices()


def _entry(identifier: str, match: object, *eras: object) -> dict[str, object]:
    return {"id": identifier, "match": match, "eras": list(eras)}


def a_table(*entries: object, provider: str = "openai") -> PriceTable:
    return table_from({"source": "test", "version": "1", "date": "2026-01-01", "providers": {provider: list(entries)}})


@pytest.mark.parametrize("input_tokens", [10_000, 99_999, 100_000, 100_001, 272_000, 272_001, 900_000])
def test_cost_is_what_the_source_says_for_every_model_in_the_table(table: PriceTable, input_tokens: int) -> None:
    document = json.loads(Path(prices_module.__file__).with_name("prices.json").read_text())
    compared = 0
    for provider, models in document["providers"].items():
        for model in models:
            usage = Usage(input_tokens, 700, cached_input_tokens=6_000, cache_write_tokens=1_000)
            name = _a_name(model["match"])
            ours = table.cost_nano_usd(provider, name, usage, AT)
            theirs = _by_the_source(provider, name, usage)
            assert ours is not None, model
            assert abs(Decimal(ours) / 10**9 - theirs) <= Decimal("5e-10"), (model["id"], ours, theirs)
            compared += 1
    assert compared > 100


def _a_name(clause: dict[str, Any]) -> str:
    """One that the clause is meant for."""
    ((operator, operand),) = clause.items()
    if operator == "or":
        return _a_name(operand[0])
    if operator == "and":
        return "".join(_a_name(one) for one in operand)
    assert operator != "regex", "the source gives patterns beside plain names"
    return str(operand)


def _by_the_source(provider: str, model: str, usage: Usage) -> Decimal:
    found = genai_prices.calc_price(
        genai_prices.Usage(
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cache_read_tokens=usage.cached_input_tokens,
            cache_write_tokens=usage.cache_write_tokens,
        ),
        model,
        provider_id=provider,
        genai_request_timestamp=AT,
    )
    return found.total_price


def test_classes_are_priced_apart(table: PriceTable) -> None:
    # Sonnet 4.5: 3 USD input, 0.3 read from the cache, 3.75 written to it, 15 output, for a million tokens.
    expected = 3_000 * 3_000 + 6_000 * 300 + 1_000 * 3_750 + 700 * 15_000
    assert table.cost_nano_usd("anthropic", "claude-sonnet-4-5", BOTH_KINDS_OF_INPUT, AT) == expected


@pytest.mark.parametrize("model", ["claude-sonnet-4-5-20250929", "Claude-Sonnet-4.5", "claude-sonnet-4-5"])
def test_model_is_found_by_its_prefixes_and_in_any_case(table: PriceTable, model: str) -> None:
    assert table.cost_nano_usd("anthropic", model, Usage(1_000_000, 0), AT) == 6_000_000_000


@pytest.mark.parametrize("model", ["gpt-6-luna", "gpt-6-luna-2026-09-01", "gpt-6-luna-20260901"])
def test_model_is_found_by_pattern_and_by_either_way_of_writing_a_date(table: PriceTable, model: str) -> None:
    assert table.cost_nano_usd("openai", model, Usage(1000, 1000), AT) == 1000 * 100 + 1000 * 500


def test_whole_request_pays_the_higher_tier_when_the_prompt_is_longer_than_it_starts(table: PriceTable) -> None:
    assert table.cost_nano_usd("openai", "gpt-5.5", Usage(272_000, 1), AT) == 272_000 * 5_000 + 30_000
    assert table.cost_nano_usd("openai", "gpt-5.5", Usage(272_001, 1), AT) == 272_001 * 10_000 + 45_000


def test_price_is_the_one_of_the_day_when_it_changed() -> None:
    table = a_table(
        _entry(
            "m",
            {"equals": "m"},
            {"since": None, "tiers": [[0, 2000, 2000, 2000, 2000]]},
            {"since": "2026-03-01", "tiers": [[0, 5000, 5000, 5000, 5000]]},
        )
    )
    before = datetime(2026, 2, 28, 23, 59, 59, tzinfo=UTC)
    assert table.cost_nano_usd("openai", "m", Usage(1, 0), before) == 2
    assert table.cost_nano_usd("openai", "m", Usage(1, 0), datetime(2026, 3, 1, tzinfo=UTC)) == 5


def test_cost_is_rounded_once_and_half_up() -> None:
    table = a_table(_entry("m", {"equals": "m"}, {"since": None, "tiers": [[0, 500, 0, 0, 499]]}))
    assert table.cost_nano_usd("openai", "m", Usage(1, 0), AT) == 1
    assert table.cost_nano_usd("openai", "m", Usage(0, 1), AT) == 0
    assert table.cost_nano_usd("openai", "m", Usage(3, 3), AT) == 3


@pytest.mark.parametrize("provider", ["lm_studio", "lm_studio-2", "scripted"])
def test_cost_is_nothing_when_the_model_is_our_own(table: PriceTable, provider: str) -> None:
    assert table.cost_nano_usd(provider, "whatever", Usage(1000, 1000), AT) == 0


@pytest.mark.parametrize(("provider", "model"), [("openai", "no-such-model"), ("openai", None), ("nobody", "gpt-5.5")])
def test_cost_is_unknown_and_not_zero_when_the_price_is(table: PriceTable, provider: str, model: str | None) -> None:
    assert table.cost_nano_usd(provider, model, Usage(1000, 1000), AT) is None


def test_further_instance_of_a_provider_has_its_prices(table: PriceTable) -> None:
    usage = Usage(1000, 10)
    assert table.cost_nano_usd("openai-2", "gpt-5.5", usage, AT) == table.cost_nano_usd("openai", "gpt-5.5", usage, AT)


def test_dearest_candidate_is_taken_and_unknown_ones_count_nothing(table: PriceTable) -> None:
    candidates = [("lm_studio", None), ("openai", "gpt-6-luna"), ("openai", "gpt-5.5"), ("openai", "unheard-of")]
    assert table.dearest_nano_usd(candidates, 1000, 0, AT) == 1000 * 5_000
    assert table.dearest_nano_usd(candidates[:1], 1000, 0, AT) == 0


def test_most_is_the_whole_prompt_written_to_the_cache_when_writing_costs_more_than_reading() -> None:
    entry = _entry("m", {"equals": "m"}, {"since": None, "tiers": [[0, 4_000_000, 400_000, 5_000_000, 20_000_000]]})
    plain = _entry("n", {"equals": "n"}, {"since": None, "tiers": [[0, 4_000_000, 400_000, 0, 20_000_000]]})
    assert a_table(entry).most_nano_usd("openai", "m", 1000, 10, AT) == 1000 * 5_000 + 10 * 20_000
    assert a_table(plain).most_nano_usd("openai", "n", 1000, 10, AT) == 1000 * 4_000 + 10 * 20_000
    assert a_table(plain).most_nano_usd("openai", "unheard-of", 1000, 10, AT) is None


def test_table_says_where_it_is_from(table: PriceTable) -> None:
    assert table.name.startswith("genai-prices ")
    assert " of 20" in table.name


@pytest.mark.parametrize(
    ("clause", "name", "is_meant"),
    [
        ({"ends_with": "-mini"}, "gpt-mini", True),
        ({"contains": "MINI"}, "a-mini-model", True),
        ({"and": [{"starts_with": "a"}, {"ends_with": "b"}]}, "a-b", True),
        ({"and": [{"starts_with": "a"}, {"ends_with": "b"}]}, "a-c", False),
        ({"or": [{"equals": "x"}, {"regex": r"^y\d$"}]}, "y7", True),
        ({"or": [{"equals": "x"}, {"regex": r"^y\d$"}]}, "y77", False),
    ],
)
def test_clauses_mean_what_they_say(clause: object, name: str, is_meant: bool) -> None:
    table = a_table(_entry("m", clause, {"since": None, "tiers": [[0, 1000, 0, 0, 0]]}))
    assert table.cost_nano_usd("openai", name, Usage(1, 0), AT) == (1 if is_meant else None)
