"""How many failovers are allowed."""

from message_service.providers.routing.retry_budget import RetryBudget


def test_a_few_retries_are_allowed_when_there_are_few_requests() -> None:
    budget = RetryBudget(share=0.2, least_per_second=0.3, window_seconds=10)
    budget.request(0)
    assert [budget.spend(0) for _ in range(5)] == [True, True, True, False, False]


def test_a_share_of_the_requests_is_allowed_besides() -> None:
    budget = RetryBudget(share=0.2, least_per_second=0.3, window_seconds=10)
    for _ in range(100):
        budget.request(0)
    assert sum(budget.spend(1) for _ in range(100)) == 23


def test_budget_is_whole_again_when_the_window_has_passed() -> None:
    budget = RetryBudget(share=0.2, least_per_second=0.1, window_seconds=10)
    assert budget.spend(0)
    assert not budget.spend(9)
    assert budget.spend(10)
