"""Which error is told when all providers have failed, and whom a name means."""

import pytest

from message_service.errors import (
    ContextTooLong,
    ProviderAuthFailed,
    ProviderConnectFailed,
    ProviderError,
    ProviderOverloaded,
    ProviderRateLimited,
    StreamCut,
)
from message_service.providers.router import is_of_family
from message_service.providers.routing.run import most_telling

AUTH = ProviderAuthFailed(provider="a")
CONTEXT = ContextTooLong(provider="b")
REFUSED = ProviderConnectFailed(provider="c")
SOON = ProviderRateLimited(provider="d", retry_after_seconds=2)
LATER = ProviderOverloaded(provider="e", retry_after_seconds=30)
LATEST = ProviderRateLimited(provider="f", retry_after_seconds=3600)
CUT = StreamCut(provider="g")


@pytest.mark.parametrize(
    ("failures", "told"),
    [
        ([AUTH], AUTH),
        ([AUTH, CONTEXT], AUTH),
        ([AUTH, REFUSED], REFUSED),
        ([REFUSED, LATER], REFUSED),
        ([LATER, REFUSED], REFUSED),
        ([LATER, SOON, REFUSED, AUTH], SOON),
        ([LATEST, LATER], LATER),
        ([REFUSED, CUT], CUT),
        ([LATER, CUT, REFUSED], CUT),
    ],
)
def test_error_that_passes_first_is_told_when_all_have_failed(
    failures: list[ProviderError], told: ProviderError
) -> None:
    assert most_telling(failures) is told


@pytest.mark.parametrize(
    ("name", "asked", "is_meant"),
    [
        ("lm_studio", "lm_studio", True),
        ("lm_studio-2", "lm_studio", True),
        ("lm_studio-2", "lm_studio-2", True),
        ("lm_studio", "lm_studio-2", False),
        ("lm_studio-x", "lm_studio", False),
        ("scripted", "", False),
        ("scripted", ".*", False),
    ],
)
def test_name_means_a_provider_and_its_further_instances_when_one_is_asked_for(
    name: str, asked: str, is_meant: bool
) -> None:
    assert is_of_family(name, asked) is is_meant
