"""The checker: silent about a history that keeps every promise, and loud about each promise broken."""

from collections.abc import Callable

import pytest

from tests.chaos.checker import INVARIANTS, Verdict, check
from tests.chaos.history import Action, Fault, SeenEvent
from tests.unit.chaos.breaches import BREACHES, another_body_accepted, too_many_in_a_minute
from tests.unit.chaos.story import Story, a_day


def _broken(story: Story) -> set[str]:
    return check(story.history()).invariants


def test_nothing_is_found_when_every_promise_is_kept() -> None:
    assert check(a_day().history()).violations == ()


def test_nothing_is_found_when_unknown_outcomes_went_either_way() -> None:
    story = a_day()
    story.posts("It may be there.", status=None, ended=None)
    story.posts("It may not.", status=503, is_stored=False)
    story.does(Action.DELETE, status=None, target="message4")
    assert check(story.history()).violations == ()


def test_nothing_is_found_when_a_stream_was_cut_and_begun_anew() -> None:
    story = a_day()
    watch = story.watches("reply1", "Very ", "well.")
    anew = [
        SeenEvent(position="2000-0", name="reply.reset", connection=1),
        SeenEvent(position="2000-42", name="reply.delta", characters=5, connection=1),
        SeenEvent(position="2000-82", name="reply.delta", characters=5, connection=2),
        SeenEvent(position="2000-87", name="reply.completed", connection=2),
    ]
    story.amend(watch, events=(*watch.events[:2], *anew))
    story.documents["replies"]["reply1"].update(take=2000, epoch=2, attempts=2)
    story.documents["usage"] = {
        key: {**row, "_id": "reply1 2 1"} if row["reply_id"] == "reply1" else row
        for key, row in story.documents["usage"].items()
    }
    assert check(story.history()).violations == ()


@pytest.mark.parametrize(("invariant", "breach"), BREACHES, ids=lambda part: getattr(part, "__name__", part))
def test_breach_is_found_when(invariant: str, breach: Callable[[Story], None]) -> None:
    story = a_day()
    breach(story)
    assert invariant in _broken(story)


def test_every_invariant_has_a_history_that_breaks_it() -> None:
    assert {invariant for invariant, _ in BREACHES} == set(INVARIANTS)


def test_twice_the_limit_is_allowed_when_redis_was_lost() -> None:
    story = a_day()
    too_many_in_a_minute(story)
    story.faults.append(Fault(kind="flush", target="redis", began=3.0))
    assert check(story.history()).violations == ()


def test_violation_names_the_operations_when_there_are_some() -> None:
    story = a_day()
    another_body_accepted(story)
    found = [one for one in check(story.history()).violations if one.invariant == "I3"]
    assert found[0].operations == ("client#4",)


def test_figures_tell_what_was_measured() -> None:
    story = a_day()
    story.posts("Slowly.", ended=9.0)
    story.posts("No answer.", status=None, is_stored=False)
    verdict: Verdict = check(story.history())
    figures = verdict.figures
    assert figures.operations["post ok"] == 5
    assert figures.operations["post unknown"] == 1
    assert figures.acknowledged_messages == 5
    assert figures.replies_by_status == {"completed": 3}
    assert figures.drain_seconds == 1.0
    answered = len([one for one in story.operations if one.action is not Action.WATCH])
    assert figures.availability_percent == pytest.approx(100 * (answered - 2) / answered)
    assert figures.longest_seconds > 7
