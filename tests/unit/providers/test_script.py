"""The grammar of the `/script` directive."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from message_service.messages.reply import FinishReason
from message_service.providers.script import FAULTS, Fault, Script, ScriptInvalid, read_script


@pytest.mark.parametrize(
    "message", ["", "Hello", "/scripture is holy", "Please /script tokens=4", "\n/script", "/Script tokens=4"]
)
def test_message_is_no_directive_when_its_first_word_is_another(message: str) -> None:
    assert read_script(message) is None


@pytest.mark.parametrize(
    ("message", "script"),
    [
        ("/script", Script()),
        ("  /script  tokens=40", Script(words=40)),
        ("/script rate=max first=0.5", Script(words_per_second=float("inf"), first_word_seconds=0.5)),
        ('/script say="Hello \u201cyou\u201d" repeat=2', Script(text="Hello \u201cyou\u201d", repeat=2)),
        ("/script finish=length\nall of\n\nthis\n", Script(text="all of\n\nthis", finish=FinishReason.LENGTH)),
        ("/script fail=overloaded@10", Script(fault=Fault("overloaded", 10))),
        ("/script fail=stall", Script(fault=Fault("stall", None))),
        (
            "/script fail=rate_limited retry_after=3 attempts=2",
            Script(fault=Fault("rate_limited"), retry_after_seconds=3.0, faulty_attempts=2),
        ),
        ("/script rate=2.5\r\nwindows", Script(words_per_second=2.5, text="windows")),
    ],
)
def test_directive_is_understood_when_it_is_well_formed(message: str, script: Script) -> None:
    assert read_script(message) == script


@pytest.mark.parametrize("kind", [*FAULTS, "stall"])
def test_every_kind_of_failure_can_be_scripted_when_it_is_documented(kind: str) -> None:
    from message_service.providers import script

    assert script.__doc__ is not None
    assert kind in script.__doc__
    assert read_script(f"/script fail={kind}@0") == Script(fault=Fault(kind, 0))


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("/script speed=3", "no option 'speed=3'"),
        ("/script tokens", "no option 'tokens'"),
        ("/script tokens=0", "whole number from 1"),
        ("/script tokens=4.5", "whole number"),
        ("/script tokens=\u0664", "whole number"),
        ("/script rate=0", "words per second"),
        ("/script rate=inf", "words per second"),
        ("/script first=-1", "seconds from 0"),
        ("/script fail=explode@3", "overloaded"),
        ("/script fail=cut@x", "whole number"),
        ("/script tokens=4 tokens=5", "given twice"),
        ('/script say="open', "quotation mark"),
        ('/script say=""', "empty"),
        ("/script say=a\nb", "not both"),
        ("/script attempts=2", "only go with fail="),
        ("/script finish=error", "content_filter"),
        ("/script say=" + "x" * 5000, "longer than"),
    ],
)
def test_directive_is_refused_with_a_reason_when_it_makes_no_sense(message: str, told: str) -> None:
    with pytest.raises(ScriptInvalid, match=told):
        read_script(message)


@given(st.text(max_size=60))
def test_any_text_is_a_script_or_refused_when_it_follows_the_word(text: str) -> None:
    with contextlib.suppress(ScriptInvalid):
        assert isinstance(read_script(f"/script {text}"), Script)


def test_fault_is_over_when_enough_attempts_have_failed() -> None:
    script = read_script("/script fail=cut@3 attempts=2")
    assert script is not None
    assert [script.fault_on(attempt) is not None for attempt in (1, 2, 3, 4)] == [True, True, False, False]
