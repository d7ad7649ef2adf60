"""When a process that ended is started again."""

from message_service.cli.restart import STEADY_SECONDS, Restart


def test_delay_doubles_to_ten_seconds_when_a_process_keeps_ending() -> None:
    restart, delays = Restart(), []
    for _ in range(10):
        restart = restart.after_end(ran_seconds=0.1)
        delays.append(restart.delay_seconds)
    assert delays == [0.0, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0, 10.0]


def test_nothing_is_waited_for_when_a_process_had_run_steadily() -> None:
    restart = Restart(ends_in_a_row=8).after_end(ran_seconds=STEADY_SECONDS)
    assert restart.delay_seconds == 0.0


def test_delay_stays_bounded_when_a_process_ends_for_days() -> None:
    assert Restart(ends_in_a_row=100_000).delay_seconds == 10.0


def test_nothing_is_waited_for_when_nothing_has_ended() -> None:
    assert Restart().delay_seconds == 0.0
