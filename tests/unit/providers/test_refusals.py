"""What a provider's refusal teaches about a model, in the words that providers are known to use."""

import pytest

from message_service.providers.refusals import refused, refused_for_good

BODY = {"model": "m", "messages": [], "max_tokens": 64, "temperature": 1.9, "stop": ["END"], "reasoning": {}}
OURS = "The provider did not accept the request. It said (status 400): "
"""Every refusal is quoted behind it."""


@pytest.mark.parametrize(
    ("told", "named"),
    [
        ("Unsupported parameter: 'temperature' is not supported with this model.", {"temperature"}),
        ("Unsupported value: 'temperature' does not support 1.9 with this model. Only the default (1) value is "
         "supported.", {"temperature"}),
        ("`temperature` is deprecated for this model.", {"temperature"}),
        ("invalid temperature: only 1 is allowed for this model", {"temperature"}),
        ("temperature: Extra inputs are not permitted", {"temperature"}),
        ("Unrecognized request argument supplied: temperature", {"temperature"}),
        ("Argument not supported on this model: stop", {"stop"}),
        ("Unsupported parameter: 'reasoning_effort' is not supported with this model.", {"reasoning"}),
        ("Invalid value for reasoning.effort", {"reasoning"}),
        ("Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
         {"max_tokens"}),
    ],
)  # fmt: skip
def test_parameter_is_never_sent_again_when_the_model_does_not_take_it(told: str, named: set[str]) -> None:
    names = refused(BODY, OURS + told)
    assert names == named
    assert refused_for_good(names, OURS + told) == named


@pytest.mark.parametrize(
    ("told", "named"),
    [
        ("temperature must be <= 1.5", {"temperature"}),
        ("temperature: range: 0..1", {"temperature"}),
        ("Invalid 'temperature': decimal above maximum value. Expected a value <= 1.5, but got 1.9.", {"temperature"}),
        ("temperature 1.9 is not allowed, at most 1.5 is", {"temperature"}),
        ("Input should be less than or equal to 1 (temperature)", {"temperature"}),
        ("Invalid 'stop': array too long. Expected an array with maximum length 4.", {"stop"}),
    ],
)
def test_parameter_is_left_out_once_when_only_its_value_is_refused(told: str, named: set[str]) -> None:
    names = refused(BODY, OURS + told)
    assert names == named
    assert refused_for_good(names, OURS + told) == set()


@pytest.mark.parametrize(
    "told",
    [
        "Bad request.",
        "The request was stopped by a policy that is not supported",
        "Unsupported parameter: 'prompt_cache_key'",
        "max_tokens is too large: 64. At most 32 max_completion_tokens are supported.",
        "max_tokens must be positive",
    ],
)
def test_nothing_is_left_out_when_nothing_that_was_sent_is_named(told: str) -> None:
    assert refused(BODY, OURS + told) == set()
