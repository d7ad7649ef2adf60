"""How much text a delta gathers."""

import pytest

from message_service.live.writer import gathering_seconds


@pytest.mark.parametrize(
    ("writers", "deltas_a_second"),
    [(0, 20), (1, 20), (250, 20), (500, 10), (1000, 10), (10_000, 10)],
)
def test_gathering_is_longer_when_many_write(writers: int, deltas_a_second: float) -> None:
    assert 1 / gathering_seconds(writers) == pytest.approx(deltas_a_second)
