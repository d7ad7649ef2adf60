"""How counts are calibrated, and how much is left to send after an overflow."""

from hypothesis import given
from hypothesis import strategies as st

from message_service.context.calibration import TokenRatios, Trim, trimmed
from message_service.context.window import ContextSize

TRIM = Trim(ContextSize(32_000, 1000), 1.0)


def test_ratio_comes_near_what_is_reported_when_it_is_reported_again_and_again() -> None:
    ratios = TokenRatios()
    assert ratios.of("a") == ratios.of(None) == 1
    for _ in range(50):
        ratios.learn("a", counted_tokens=1000, reported_tokens=1300)
    assert abs(ratios.of("a") - 1.3) < 0.01
    assert ratios.of(None) == ratios.of("a")
    assert ratios.of("b") == 1


def test_nothing_is_learnt_when_a_prompt_is_short_or_the_report_absurd() -> None:
    ratios = TokenRatios()
    ratios.learn("a", counted_tokens=10, reported_tokens=400)
    ratios.learn("a", counted_tokens=1000, reported_tokens=0)
    assert ratios.of("a") == 1
    ratios.learn("a", counted_tokens=1000, reported_tokens=9_999_999)
    assert ratios.of("a") == 4


def test_models_are_forgotten_when_there_are_too_many() -> None:
    ratios = TokenRatios()
    for number in range(1000):
        ratios.learn(str(number), counted_tokens=1000, reported_tokens=2000)
    assert ratios.of("0") == 1
    assert ratios.of("999") == 2


def test_second_try_fits_what_the_provider_told() -> None:
    trim = trimmed(TRIM, counted_tokens=20_000, told_prompt_tokens=30_000, told_context_tokens=8192)
    assert trim.ratio == 1.5
    assert 7000 < trim.size.context_tokens < 8192


@given(st.integers(300, 200_000), st.none() | st.integers(1, 10**6), st.none() | st.integers(1, 10**6))
def test_second_try_is_always_smaller(counted: int, told_prompt: int | None, told_context: int | None) -> None:
    trim = trimmed(TRIM, counted_tokens=counted, told_prompt_tokens=told_prompt, told_context_tokens=told_context)
    assert trim.size.context_tokens < TRIM.size.context_tokens
    assert trim.ratio >= TRIM.ratio
