"""How long text is gathered."""

import pytest

from message_service.gathering import gathering_seconds


@pytest.mark.parametrize(
    ("replies", "pieces_a_second"),
    [(0, 25), (1, 25), (50, 25), (160, 25), (400, 10), (1000, 4), (10_000, 4)],
)
def test_gathering_is_longer_when_a_process_writes_many_replies(replies: int, pieces_a_second: float) -> None:
    assert 1 / gathering_seconds(replies) == pytest.approx(pieces_a_second)
