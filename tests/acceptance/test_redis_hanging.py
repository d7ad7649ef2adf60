"""Redis hangs for half a minute while users post and watch: no post fails, and replies come as ever, only whole."""

import asyncio
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import quantiles

import pytest

from message_service.embedded.servers import EmbeddedServers, ServerName, start_embedded_servers
from tests.fixtures.client import Client, endings_of, text_of
from tests.fixtures.service import StartService

_HANGS_SECONDS = 30.0
_USERS = 8
_PAUSE_SECONDS = 0.8
_SLOWEST_POST_SECONDS = 4.0
_LATEST_START_SECONDS = 6.0


@pytest.fixture(scope="module")
def own_servers() -> Iterator[EmbeddedServers]:
    with tempfile.TemporaryDirectory(prefix="message-service-tests-") as folder:
        started = start_embedded_servers(Path(folder))
        try:
            yield started
        finally:
            started.stop()


class Conversing:
    """Users who post, watch the whole reply and post again; how long each post and each start took, in seconds."""

    def __init__(self) -> None:
        self.posts: list[float] = []
        self.starts: list[float] = []
        self.is_over = False
        self._clock = asyncio.get_running_loop().time

    async def converse(self, user: Client) -> None:
        number = 0
        while not self.is_over:
            number += 1
            body = {"conversation_id": "talk", "content": f"/script rate=max say=answer-{number}", "reply": {}}
            began_at = self._clock()
            answer = await user.post("/v1/messages", body)
            posted_at = self._clock()
            assert answer.status == 202, answer
            self.posts.append(posted_at - began_at)
            events = await user.follow(answer.json["reply"]["id"])
            self.starts.append(self._clock() - posted_at)
            assert endings_of(events) == ["reply.completed"]
            assert text_of(events) == f"answer-{number}"
            await asyncio.sleep(_PAUSE_SECONDS)


async def test_no_post_fails_and_replies_come_whole_when_redis_hangs_under_load(
    start_service: StartService, own_servers: EmbeddedServers
) -> None:
    async with start_service(on=own_servers, apis=2, workers=2, RATE_LIMIT_PER_MINUTE="10000") as service:
        talk = Conversing()
        redis = own_servers.processes[ServerName.REDIS].pid
        async with asyncio.TaskGroup() as users:
            for number in range(_USERS):
                users.create_task(talk.converse(service.client(api=number % 2)))
            await asyncio.sleep(3)
            os.kill(redis, signal.SIGSTOP)
            try:
                talk.posts, talk.starts = [], []
                await asyncio.sleep(_HANGS_SECONDS)
                posts, starts = talk.posts[:], talk.starts[:]
            finally:
                os.kill(redis, signal.SIGCONT)
                talk.is_over = True
    p99_post, p99_start = quantiles(posts, n=100)[98], quantiles(starts, n=100)[98]
    print(  # noqa: T201  # figures for the record
        f"{len(posts)} posts: p50 {quantiles(posts, n=2)[0]:.3f}, p99 {p99_post:.3f}, longest {max(posts):.3f} s; "
        f"replies whole after: p50 {quantiles(starts, n=2)[0]:.3f}, p99 {p99_start:.3f}, longest {max(starts):.3f} s"
    )
    assert len(posts) >= 2 * _USERS
    assert p99_post < _SLOWEST_POST_SECONDS
    assert p99_start < _LATEST_START_SECONDS
