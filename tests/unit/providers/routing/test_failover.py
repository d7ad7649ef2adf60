"""What becomes of a reply that broke off, and how a continuation joins on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from message_service.providers.routing.failover import Broken, FailoverPolicy, Joint, Verdict
from message_service.setting_types import MidstreamPolicy


def broken(tokens: int = 100, seconds: float = 10, *, can_continue: bool = False, left: float = 100) -> Broken:
    return Broken(tokens_shown=tokens, seconds_shown=seconds, can_continue=can_continue, seconds_left=left)


@pytest.mark.parametrize(
    ("policy", "at", "verdict"),
    [
        ("auto", broken(40), Verdict.RESTART),
        ("auto", broken(41), Verdict.KEEP),
        ("auto", broken(400, seconds=1.9), Verdict.RESTART),
        ("auto", broken(1, left=1), Verdict.KEEP),
        ("keep", broken(1), Verdict.KEEP),
        ("restart", broken(4000), Verdict.RESTART),
        ("restart", broken(4000, left=1), Verdict.KEEP),
        ("continue", broken(can_continue=True), Verdict.CONTINUE),
        ("continue", broken(can_continue=False), Verdict.KEEP),
    ],
)
def test_verdict_follows_the_policy_and_what_was_shown(policy: MidstreamPolicy, at: Broken, verdict: Verdict) -> None:
    assert FailoverPolicy(midstream=policy).decide(at) is verdict


def joined(shown: str, *pieces: str) -> str:
    joint = Joint(shown)
    return shown + "".join(joint.feed(piece) for piece in pieces) + joint.end()


def test_repeated_end_is_dropped_when_a_continuation_begins_with_it() -> None:
    assert joined("Once upon a time", "a time there", " was") == "Once upon a timea time there was"
    assert joined("Once upon a time", "upon a ti", "me there", " was") == "Once upon a time there was"


def test_short_repetition_is_kept_because_it_may_be_meant() -> None:
    assert joined("He said no, no, ", "no, no!") == "He said no, no, no, no!"


@given(st.text("ab ", max_size=100), st.lists(st.text("ab ", max_size=9), max_size=9))
def test_nothing_but_a_repetition_is_ever_dropped(shown: str, pieces: list[str]) -> None:
    added = joined(shown, *pieces)[len(shown) :]
    dropped = "".join(pieces).removesuffix(added)
    assert dropped + added == "".join(pieces)
    assert shown.endswith(dropped)
    assert not dropped or len(dropped) >= 8


@given(st.text(min_size=1, max_size=100), st.text(max_size=40), st.integers(8, 64), st.integers(1, 7))
def test_a_repetition_is_dropped_however_it_is_cut(shown: str, new: str, overlap: int, size: int) -> None:
    repeated = shown[-overlap:]
    if len(repeated) < 8:
        return
    sent = repeated + new
    result = joined(shown, *(sent[at : at + size] for at in range(0, len(sent), size)))
    assert len(result) <= len(shown) + len(new)
