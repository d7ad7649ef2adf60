"""In which order each strategy asks."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from message_service.providers.routing.candidate import Candidate
from message_service.providers.routing.rendezvous import by_affinity
from message_service.providers.routing.strategies import STRATEGIES, Affinity, in_tiers
from message_service.setting_types import StrategyName


def some(*names: str, **more: object) -> list[Candidate]:
    return [Candidate(name=name, family=name.partition("-")[0], **more) for name in names]  # type: ignore[arg-type]


def order(name: StrategyName, candidates: Sequence[Candidate], key: str = "") -> list[str]:
    return [one.name for one in STRATEGIES[name](Random(7)).order(candidates, key)]


def firsts(name: StrategyName, candidates: Sequence[Candidate], times: int) -> Counter[str]:
    strategy = STRATEGIES[name](Random(7))
    return Counter(strategy.order(candidates, f"c{turn}")[0].name for turn in range(times))


def test_every_name_has_a_strategy() -> None:
    assert set(STRATEGIES) == set(get_args(StrategyName))


_CANDIDATES = st.lists(
    st.builds(
        Candidate,
        name=st.text(min_size=1, max_size=3),
        family=st.sampled_from("ab"),
        tier=st.integers(1, 3),
        weight=st.floats(0, 9),
        in_flight=st.integers(0, 5),
        most_in_flight=st.none() | st.integers(1, 5),
        first_token_seconds=st.none() | st.floats(0, 60),
        price=st.none() | st.floats(0, 1),
    ),
    max_size=8,
    unique_by=lambda one: one.name,
)


@given(_CANDIDATES, st.sampled_from(sorted(STRATEGIES)), st.text(max_size=4))
def test_everybody_is_asked_once_and_lower_tiers_first_whatever_the_strategy(
    candidates: list[Candidate], name: StrategyName, key: str
) -> None:
    ordered = in_tiers(candidates, STRATEGIES[name](Random(7)), key)
    assert Counter(one.name for one in ordered) == Counter(one.name for one in candidates)
    assert [one.tier for one in ordered] == sorted(one.tier for one in candidates)


def test_priority_keeps_the_configured_order_of_families_when_their_instances_differ() -> None:
    names = order("priority", some("lm-1", "lm-2", "openai", "lm-3"), "conversation")
    assert sorted(names[:3]) == ["lm-1", "lm-2", "lm-3"]
    assert names[3] == "openai"


def test_each_comes_first_equally_often_in_round_robin() -> None:
    assert firsts("round_robin", some("a", "b", "c"), 30) == {"a": 10, "b": 10, "c": 10}


def test_each_comes_first_in_its_tier_equally_often_when_there_are_several() -> None:
    strategy = STRATEGIES["round_robin"](Random(7))
    tiers = [*some("a", "b", tier=1), *some("c", "d", tier=2)]
    lines = [[one.name for one in in_tiers(tiers, strategy, "")] for _ in range(10)]
    assert Counter(line[0] for line in lines) == {"a": 5, "b": 5}
    assert Counter(line[2] for line in lines) == {"c": 5, "d": 5}


def test_each_comes_first_as_often_as_its_weight_says() -> None:
    heavy, light, never = some("a", "b", "c")
    candidates = [replace(heavy, weight=3), light, replace(never, weight=0)]
    counted = firsts("weighted", candidates, 4000)
    assert 0.7 < counted["a"] / 4000 < 0.8
    assert counted["c"] == 0


def test_busy_and_slow_targets_come_later_by_latency() -> None:
    fast, slow = some("a", "b")
    assert order("latency", [replace(slow, first_token_seconds=2), replace(fast, first_token_seconds=1)])[0] == "a"
    busy = replace(fast, first_token_seconds=1, in_flight=3)
    assert order("latency", [busy, replace(slow, first_token_seconds=2)])[0] == "b"


def test_worst_of_many_never_comes_first_by_latency() -> None:
    candidates = [replace(one, first_token_seconds=1 + at) for at, one in enumerate(some("a", "b", "c", "d"))]
    counted = firsts("latency", candidates, 500)
    assert counted["d"] == 0
    assert counted["a"] > counted["c"] > 0


def test_cheapest_comes_first_and_unknown_prices_last_by_cost() -> None:
    a, b, c = some("a", "b", "c")
    assert order("cost", [a, replace(b, price=2), replace(c, price=1)]) == ["c", "b", "a"]


def test_conversation_stays_where_it_is_by_affinity() -> None:
    candidates = some("a", "b", "c", "d")
    for key in map(str, range(50)):
        assert order("affinity", candidates, key) == order("affinity", list(reversed(candidates)), key)


def test_only_its_own_conversations_move_when_a_target_goes() -> None:
    candidates = some("a", "b", "c", "d")
    for key in map(str, range(200)):
        home = by_affinity(candidates, key)[0]
        if home.name != "d":
            assert by_affinity(candidates[:3], key)[0] == home


def test_conversations_are_spread_evenly_by_affinity() -> None:
    counted = firsts("affinity", some("a", "b", "c", "d"), 4000)
    assert all(800 < count < 1200 for count in counted.values())


@given(st.lists(st.integers(0, 20), min_size=2, max_size=6))
def test_nobody_gets_more_than_its_bounded_share_by_affinity(loads: list[int]) -> None:
    candidates = [replace(one, in_flight=load) for one, load in zip(some(*"abcdef"), loads, strict=False)]
    first = Affinity().order(candidates, "a conversation")[0]
    fair_share = (sum(loads) + 1) / len(loads)
    assert first.in_flight < 1.25 * fair_share + 1


def test_conversation_spills_over_when_its_home_has_no_room() -> None:
    home, *others = by_affinity(some("a", "b", "c", most_in_flight=2), "key")
    full = replace(home, in_flight=2)
    assert order("affinity", [full, *others], "key")[-1] == home.name
