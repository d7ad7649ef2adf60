"""Ids: distinct, sorted by time, and never to be confused with another's."""

import re
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from message_service.ids import (
    EXTERNAL_ID_PATTERN,
    ConversationId,
    UserId,
    conversation_key,
    is_own_id,
    new_message_id,
    new_reply_id,
    new_request_id,
    new_worker_id,
)

EXTERNAL_IDS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=128)
CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def milliseconds_of(id_: str) -> int:
    number = 0
    for character in id_.partition("_")[2]:
        number = number * 32 + CROCKFORD.index(character)
    return number >> 80


def test_ids_are_distinct_when_many_are_made_at_once() -> None:
    assert len({new_message_id() for _ in range(10_000)}) == 10_000


def test_id_holds_the_time_it_was_made() -> None:
    before = time.time_ns() // 1_000_000
    made = milliseconds_of(new_message_id())
    assert before <= made <= time.time_ns() // 1_000_000


def test_ids_sort_by_time_when_made_in_different_milliseconds(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = [0, 1, 999, 1_000, 1_769_860_800_000, 1_769_860_800_001, 2**48 - 1]
    ids = []
    for moment in moments:
        monkeypatch.setattr(time, "time_ns", lambda moment=moment: moment * 1_000_000)
        ids.append(new_message_id())
    assert ids == sorted(ids)
    assert [milliseconds_of(id_) for id_ in ids] == moments


@pytest.mark.parametrize(
    ("make", "prefix"),
    [(new_message_id, "msg_"), (new_reply_id, "msg_"), (new_worker_id, "wrk_"), (new_request_id, "req_")],
)
def test_id_tells_what_it_names(make: Callable[[], str], prefix: str) -> None:
    assert re.fullmatch(f"{prefix}[{CROCKFORD}]{{26}}", make())


def test_reply_id_can_become_a_message_id() -> None:
    assert is_own_id(new_reply_id())
    assert is_own_id(new_message_id())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "msg_",
        "msg_01",
        "wrk_01M8202AN9N22A617XZDCNDA5Y",
        "msg_01M8202AN9N22A617XZDCNDA5Y0",
        "msg_01M8202AN9N22A617XZDCNDA5Y\n",
        "msg_01m8202an9n22a617xzdcnda5y",
        " msg_01M8202AN9N22A617XZDCNDA5Y",
        "msg_" + "I" * 26,
        "msg_" + "٣" * 26,
    ],
)
def test_text_is_not_ours_when_it_could_not_be(text: str) -> None:
    assert not is_own_id(text)


@given(EXTERNAL_IDS, EXTERNAL_IDS, EXTERNAL_IDS, EXTERNAL_IDS)
def test_conversations_differ_when_user_or_id_does(user: str, id_: str, other_user: str, other_id: str) -> None:
    one = conversation_key(UserId(user), ConversationId(id_))
    other = conversation_key(UserId(other_user), ConversationId(other_id))
    assert (one == other) == ((user, id_) == (other_user, other_id))


@pytest.mark.parametrize("text", ["", "a b", "a\n", "é", "\x7f", "a\x00", "x" * 129])
def test_external_id_is_refused_when_it_could_blur_a_key(text: str) -> None:
    assert re.fullmatch(EXTERNAL_ID_PATTERN, text) is None
