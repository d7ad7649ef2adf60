"""Machines whose clocks are an hour off: replies are answered in order, none before its deadline is given up."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.fixtures.service import StartService

_HOUR = 3600


@pytest.mark.parametrize(
    ("api_seconds", "worker_seconds"),
    [(-_HOUR, 0), (_HOUR, 0), (0, -_HOUR), (0, _HOUR), (-_HOUR, _HOUR)],
    ids=["API behind", "API ahead", "worker behind", "worker ahead", "both"],
)
async def test_replies_are_answered_when_clocks_are_wrong(
    start_service: StartService, api_seconds: int, worker_seconds: int
) -> None:
    async with start_service(apis=0, workers=0) as service:
        await service.start(apis=1, entry=("-m", "tests.fixtures.wrong_clock", str(api_seconds)))
        await service.start(workers=1, entry=("-m", "tests.fixtures.wrong_clock", str(worker_seconds)))
        caller = service.client()
        asked = [await caller.ask(f"/script rate=max say={number}") for number in range(3)]
        ended = [await caller.ended(reply["id"]) for reply in asked]
        assert [(reply["status"], reply["attempts"]) for reply in ended] == [("completed", 1)] * 3
        page = (await caller.page(order="asc"))["data"]
        assert [message["seq"] for message in page] == [1, 2, 3, 4, 5, 6]
        for message in page:
            at = datetime.fromisoformat(message["created_at"])
            assert abs(at - datetime.now(UTC)) < timedelta(minutes=5)
        usage = (await caller.get("/v1/usage", params={"group_by": "hour"})).json["data"]
        assert sum(row["attempts"] for row in usage) == 3
