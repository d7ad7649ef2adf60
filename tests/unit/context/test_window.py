"""The window takes the newest messages that fit, and always the one that is answered."""

from hypothesis import given
from hypothesis import strategies as st

from message_service.context.window import TOKENS_PER_TURN, TOKENS_TO_PRIME_A_REPLY, Window, cut_to_fit
from message_service.messages.message import Message, Role
from tests.fixtures.samples import a_message

SIZES = st.lists(st.integers(1, 60), min_size=1, max_size=30)


def an_answer(seq: int, tokens: int) -> Message:
    return a_message(seq, role=Role.ASSISTANT, tokens=tokens, reply_to=f"msg_{seq - 1}")


def filled(window: Window, newest_first: list[Message]) -> Window:
    for message in newest_first:
        if window.is_full_for(message):
            break
    return window


def cost(tokens: int) -> int:
    return tokens + TOKENS_PER_TURN


def test_turns_come_oldest_first() -> None:
    newest_first = [a_message(seq, tokens=1) for seq in (3, 2, 1)]
    assert [message.seq for message in filled(Window(1000), newest_first).turns()] == [1, 2, 3]


def test_message_fits_when_it_takes_exactly_what_is_free() -> None:
    window = filled(
        Window(TOKENS_TO_PRIME_A_REPLY + cost(5) + cost(7)), [a_message(2, tokens=5), a_message(1, tokens=7)]
    )
    assert len(window.turns()) == 2
    assert window.free_tokens == 0
    assert not window.is_truncated


def test_message_is_left_out_when_one_token_is_missing() -> None:
    window = filled(
        Window(TOKENS_TO_PRIME_A_REPLY + cost(5) + cost(7) - 1), [a_message(2, tokens=5), a_message(1, tokens=7)]
    )
    assert [message.seq for message in window.turns()] == [2]
    assert window.is_truncated


def test_older_messages_are_left_out_when_one_in_between_does_not_fit() -> None:
    sizes = [(3, 5), (2, 500), (1, 1)]
    window = filled(Window(100), [a_message(seq, tokens=tokens) for seq, tokens in sizes])
    assert [message.seq for message in window.turns()] == [3]


def test_instructions_take_their_room_when_they_are_pinned() -> None:
    window = Window(100)
    window.pin(40)
    assert window.free_tokens == 100 - TOKENS_TO_PRIME_A_REPLY - cost(40)


def test_answered_message_is_taken_when_it_alone_is_too_long() -> None:
    window = filled(Window(50), [a_message(2, tokens=5_000), a_message(1, tokens=1)])
    assert [message.seq for message in window.turns()] == [2]


def test_history_does_not_begin_with_an_answer_when_its_question_was_cut_off() -> None:
    newest_first = [a_message(4, tokens=5), an_answer(3, 5), an_answer(2, 5), a_message(1, tokens=500)]
    assert [message.seq for message in filled(Window(100), newest_first).turns()] == [4]


def test_history_may_begin_with_an_answer_when_nothing_was_cut_off() -> None:
    newest_first = [a_message(2, tokens=5), an_answer(1, 5)]
    assert [message.seq for message in filled(Window(100), newest_first).turns()] == [1, 2]


def test_answered_message_stays_when_it_is_all_that_is_left() -> None:
    newest_first = [an_answer(2, 5), a_message(1, tokens=500)]
    assert [message.seq for message in filled(Window(20), newest_first).turns()] == [2]


@given(SIZES, st.integers(1, 400))
def test_window_is_the_longest_run_of_newest_messages_when_all_are_questions(sizes: list[int], budget: int) -> None:
    newest_first = [a_message(len(sizes) - place, tokens=tokens) for place, tokens in enumerate(sizes)]
    window = filled(Window(budget), newest_first)
    taken = window.turns()
    assert taken == list(reversed(newest_first[: len(taken)]))
    assert window.used_tokens == TOKENS_TO_PRIME_A_REPLY + sum(cost(message.tokens) for message in taken)
    assert window.used_tokens <= budget or len(taken) == 1
    if len(taken) < len(sizes):
        assert window.used_tokens + cost(sizes[len(taken)]) > budget


def test_text_is_whole_when_it_fits() -> None:
    assert cut_to_fit("abc" * 100, tokens=100, budget_tokens=100) == "abc" * 100


def test_beginning_and_end_remain_when_text_is_too_long() -> None:
    text = "B" * 500 + "m" * 9_000 + "E" * 500
    cut = cut_to_fit(text, tokens=10_000, budget_tokens=1_000)
    assert cut.startswith("B" * 400)
    assert cut.endswith("E" * 400)
    assert "[...]" in cut


@given(st.text(min_size=200, max_size=2_000), st.integers(1, 5), st.integers(20, 200))
def test_cut_text_keeps_to_its_share_when_it_is_too_long(text: str, tokens_each: int, budget: int) -> None:
    tokens = len(text) * tokens_each
    cut = cut_to_fit(text, tokens=tokens, budget_tokens=budget)
    allowed = len(text) * min(1, budget / tokens)
    assert len(cut) <= max(allowed, len("\n[...]\n"))
    head, mark, tail = cut.partition("\n[...]\n") if cut != text else (text, "", "")
    assert text.startswith(head) or not mark
    assert text.endswith(tail) or not mark
