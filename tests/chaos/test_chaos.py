"""Chaos as a test: many faults of many kinds, and every promise kept."""

import os
from collections import Counter
from pathlib import Path

import pytest

from tests.chaos.checker import check
from tests.chaos.history import read_history
from tests.chaos.report import Result, described
from tests.chaos.run import Plan, make_history

_SEED = "MESSAGE_SERVICE_TEST_CHAOS_SEED"
_SECONDS, _MOST_PIECES = 130, 3
"""A machine that is slow or busy takes in fewer messages in that time, and gets more of it."""
_POSTS_PER_SECOND = 50
_FAULTS, _KINDS, _MESSAGES = 50, 12, 5_000


@pytest.mark.chaos
async def test_every_promise_is_kept_when_everything_fails_in_turn(tmp_path: Path) -> None:
    first_seed = int(os.environ.get(_SEED, "1"))
    faults: Counter[str] = Counter()
    messages = 0
    for seed in range(first_seed, first_seed + _MOST_PIECES):
        plan = Plan(seconds=_SECONDS, seed=seed, posts_per_second=_POSTS_PER_SECOND)
        await make_history(plan, tmp_path / f"seed-{seed}", lambda _: None)
        history = read_history(tmp_path / f"seed-{seed}" / "history")
        verdict = check(history)
        report = described(Result.of(history, verdict, mongod_members=1, posts_per_second=_POSTS_PER_SECOND))
        print(report)  # noqa: T201  # the record of the run
        assert not verdict.violations, report
        faults.update(verdict.figures.faults)
        messages += verdict.figures.acknowledged_messages
        if messages >= _MESSAGES and faults.total() >= _FAULTS and len(faults) >= _KINDS:
            return
    pytest.fail(f"only {messages} messages acknowledged under {faults.total()} faults of {len(faults)} kinds")
