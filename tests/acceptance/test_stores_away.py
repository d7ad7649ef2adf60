"""Redis or MongoDB hangs: what still works, what says that it does not, and that nothing is lost or made up."""

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from message_service.embedded.servers import EmbeddedServers, ServerName, start_embedded_servers
from message_service.relay import Relay, open_relay
from tests.acceptance.expectations import expect_problem
from tests.fixtures.client import Answer, Client, endings_of, names_of, text_of
from tests.fixtures.redis_faults import full, read_only
from tests.fixtures.service import Service, StartService

_LIMIT = 12
_REFUSED_WITHIN_SECONDS = 6.0
_POSTED_WITHIN_SECONDS = 4.0


@pytest.fixture(scope="module")
def own_servers() -> Iterator[EmbeddedServers]:
    with tempfile.TemporaryDirectory(prefix="message-service-tests-") as folder:
        started = start_embedded_servers(Path(folder))
        try:
            yield started
        finally:
            started.stop()


@pytest_asyncio.fixture(scope="module")
async def alone(start_service: StartService, own_servers: EmbeddedServers) -> AsyncIterator[Service]:
    async with start_service(on=own_servers, RATE_LIMIT_PER_MINUTE=str(_LIMIT)) as running:
        yield running


@pytest.fixture
def caller(alone: Service) -> Client:
    return alone.client()


@contextmanager
def _hanging(servers: EmbeddedServers, name: ServerName) -> Iterator[None]:
    pid = servers.processes[name].pid
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def _ready(caller: Client, status: str) -> Answer:
    """The answer of the probe, once it says so."""
    async with asyncio.timeout(20):
        while True:
            answer = await caller.get("/health/ready")
            if answer.json["status"] == status:
                return answer


async def _timed(caller: Client, content: str, **fields: object) -> tuple[Answer, float]:
    clock = asyncio.get_running_loop().time
    began_at = clock()
    answer = await caller.post("/v1/messages", {"conversation_id": "conv-1", "content": content, **fields})
    return answer, clock() - began_at


async def test_everything_works_on_when_redis_hangs(alone: Service, caller: Client) -> None:
    running = await caller.ask("/script tokens=60 rate=20\nOne word after the other. ")
    early = asyncio.create_task(caller.watch_whole(running["id"]))
    await caller.reply_when(running["id"], "running")
    with _hanging(alone.servers, ServerName.REDIS):
        for number in range(3):
            answer, seconds = await _timed(caller, f"stored {number}")
            assert (answer.status, answer.json["message"]["content"]) == (201, f"stored {number}")
            assert seconds < 3
        asked, seconds = await _timed(caller, "/script tokens=30 rate=20\nAnd again. ", reply={})
        assert asked.status == 202
        assert seconds < 3
        ready = await _ready(caller, "degraded")
        assert ready.status == 200
        assert ready.json["dependencies"]["mongodb"]["status"] == "ok"
        assert ready.json["dependencies"]["redis"]["status"] == "down"
        late = await caller.watch_whole(asked.json["reply"]["id"])
        watched = {running["id"]: await early, asked.json["reply"]["id"]: late}
        for reply_id, events in watched.items():
            ended = await caller.reply(reply_id)
            assert ended["status"] == "completed"
            assert ended["attempts"] == 1
            assert text_of(events) == ended["message"]["content"]
            assert endings_of(events) == ["reply.completed"]
            assert events[-1].content == ended
        assert len((await caller.page())["data"]) == 7
        assert (await caller.get("/metrics")).status == 200
    ready = await _ready(caller, "ready")
    assert ready.status == 200
    # Long enough that the second in which a process leaves Redis alone may fall into it.
    again = await caller.ask("/script tokens=80 rate=20\nAnd again. ")
    assert names_of(await caller.watch_whole(again["id"])).count("reply.delta") > 3


@asynccontextmanager
async def _gone_and_back_empty(servers: EmbeddedServers, _: Relay) -> AsyncIterator[None]:
    """Killed; when it comes back it knows nothing."""
    servers.processes[ServerName.REDIS].kill()
    servers.processes[ServerName.REDIS].wait()
    try:
        yield
    finally:
        shutil.rmtree(servers.data_dir / "redis")
        (servers.data_dir / "redis").mkdir(mode=0o700)
        servers.start([ServerName.REDIS])


@asynccontextmanager
async def _flushed_again_and_again(_: EmbeddedServers, relay: Relay) -> AsyncIterator[None]:
    async def flush() -> None:
        while True:
            await relay.quick.flushall()
            await asyncio.sleep(0.05)

    flushing = asyncio.create_task(flush())
    try:
        yield
    finally:
        flushing.cancel()
        await asyncio.wait([flushing])


_REDIS_FAULTS: dict[str, Callable[[EmbeddedServers, Relay], AbstractAsyncContextManager[None]]] = {
    "gone": _gone_and_back_empty,
    "full": lambda _, relay: full(relay),
    "evicting": lambda _, relay: full(relay, policy="allkeys-lru"),
    "a replica of nobody": lambda _, relay: read_only(relay),
    "flushed": _flushed_again_and_again,
}


# The others take writes.
_SHOWN_AS_DEGRADED = ("gone", "full", "a replica of nobody")


@pytest.mark.parametrize("name", _REDIS_FAULTS)
async def test_users_are_answered_whatever_is_wrong_with_redis(alone: Service, name: str) -> None:
    fault = _REDIS_FAULTS[name]
    callers = [alone.client() for _ in range(4)]

    async def converse(caller: Client) -> None:
        for number in range(2):
            answer, seconds = await _timed(caller, f"/script tokens=20 rate=40 say={number}", reply={})
            assert answer.status == 202, answer
            assert seconds < _POSTED_WITHIN_SECONDS
            reply_id = answer.json["reply"]["id"]
            events = await caller.watch_whole(reply_id)
            ended = await caller.reply(reply_id)
            assert (ended["status"], ended["attempts"]) == ("completed", 1)
            assert text_of(events) == ended["message"]["content"]
            assert endings_of(events) == ["reply.completed"]

    async with open_relay(alone.redis_url) as relay, fault(alone.servers, relay):
        if name in _SHOWN_AS_DEGRADED:
            assert (await _ready(callers[0], "degraded")).json["dependencies"]["redis"]["detail"]
        logged_before = [len(worker.whole_log()) for worker in alone.workers]
        began_at = asyncio.get_running_loop().time()
        await asyncio.gather(*(converse(caller) for caller in callers))
        seconds = asyncio.get_running_loop().time() - began_at
        for worker, before in zip(alone.workers, logged_before, strict=True):
            complaints = [line for line in worker.whole_log()[before:].splitlines() if '"error"' in line]
            assert len(complaints) <= seconds + 1, complaints
        limited = alone.client()
        statuses = [(await _timed(limited, f"number {number}"))[0].status for number in range(_LIMIT + 2)]
        assert set(statuses) <= {201, 429}
    await _ready(callers[0], "ready")
    for caller in callers:
        assert [message["seq"] for message in (await caller.page(order="asc"))["data"]] == [1, 2, 3, 4]


async def test_running_reply_is_cancelled_when_redis_hangs(alone: Service, caller: Client) -> None:
    asked = await caller.ask("/script tokens=2000 rate=20\nOne word after the other. ")
    await caller.reply_when(asked["id"], "running")
    with _hanging(alone.servers, ServerName.REDIS):
        assert (await caller.post(f"/v1/replies/{asked['id']}/cancel")).status == 202
        ended = await caller.ended(asked["id"])
        events = await caller.watch_whole(asked["id"])
    assert ended["status"] == "cancelled"
    assert text_of(events) == ended["message"]["content"]
    await _ready(caller, "ready")


async def test_limit_holds_when_redis_hangs(alone: Service, caller: Client) -> None:
    with _hanging(alone.servers, ServerName.REDIS):
        answers = [(await _timed(caller, f"number {number}"))[0] for number in range(_LIMIT + 2)]
    assert [answer.status for answer in answers] == [201] * _LIMIT + [429] * 2
    for answer in answers[-2:]:
        expect_problem(answer, 429, "rate_limited")
        assert answer.headers["RateLimit-Policy"] == f'"messages";q={_LIMIT};w=60'
        assert 0 < int(answer.headers["Retry-After"]) <= 60
    await _ready(caller, "ready")


async def test_variants_count_against_the_limit_when_redis_hangs(alone: Service, caller: Client) -> None:
    asked = await caller.ask("/script rate=max say=hello")
    with _hanging(alone.servers, ServerName.REDIS):
        statuses = [
            (await caller.post(f"/v1/messages/{asked['message_id']}/replies", {})).status for _ in range(_LIMIT + 1)
        ]
    assert statuses == [202] * (_LIMIT - 1) + [429] * 2
    await _ready(caller, "ready")


async def test_nothing_is_lost_or_made_up_when_mongodb_hangs(alone: Service, caller: Client) -> None:
    others = [alone.client() for _ in range(8)]
    await caller.store("before")
    body = {"conversation_id": "conv-1", "content": "/script rate=max say=hello", "reply": {}}
    clock = asyncio.get_running_loop().time

    async def post(other: Client) -> tuple[Answer, float]:
        began_at = clock()
        answer = await other.post("/v1/messages", body, headers={"Idempotency-Key": "key-1"})
        return answer, clock() - began_at

    async def ask(method: str, path: str) -> tuple[Answer, float]:
        began_at = clock()
        answer = await caller.request(
            method, path, json={"conversation_id": "c", "content": "x"} if method == "POST" else None
        )
        return answer, clock() - began_at

    message = (await caller.page())["data"][0]["id"]
    with _hanging(alone.servers, ServerName.MONGODB):
        probe = asyncio.create_task(ask("GET", "/health/ready"))
        refused = await asyncio.gather(
            *(post(other) for other in others),
            ask("POST", "/v1/messages"),
            ask("GET", "/v1/messages?conversation_id=conv-1"),
            ask("GET", f"/v1/messages/{message}"),
            ask("DELETE", f"/v1/messages/{message}"),
            ask("GET", f"/v1/replies/{message}"),
            ask("GET", f"/v1/replies/{message}/stream"),
            ask("POST", f"/v1/replies/{message}/cancel"),
        )
        for answer, seconds in refused:
            expect_problem(answer, 503, "store_unavailable")
            assert int(answer.headers["Retry-After"]) > 0
            assert seconds < _REFUSED_WITHIN_SECONDS
        ready, _ = await probe
        assert (ready.status, ready.json["status"]) == (503, "unavailable")
        assert ready.json["dependencies"]["mongodb"]["status"] == "down"
        assert (await caller.get("/health/live")).status == 200
    await _ready(caller, "ready")
    # What became of them is unknown until they are repeated with their key, and then each is there once.
    for answer, _ in [await post(other) for other in others]:
        assert answer.status == 202
    for other in others:
        page = await other.page(order="asc")
        await other.ended((await other.get(f"/v1/messages/{page['data'][0]['id']}/replies")).json["data"][0]["id"])
        page = await other.page(order="asc")
        assert [(message["seq"], message["role"]) for message in page["data"]] == [(1, "user"), (2, "assistant")]


async def test_running_reply_completes_when_mongodb_hung_meanwhile(alone: Service, caller: Client) -> None:
    asked = await caller.ask("/script tokens=40 rate=20\nOne word after the other. ")
    following = asyncio.create_task(caller.follow(asked["id"]))
    await caller.reply_when(asked["id"], "running")
    with _hanging(alone.servers, ServerName.MONGODB):
        # Past the end of its text, so that it is the end which could not be stored at first.
        answer, _ = await _timed(caller, "x")
        expect_problem(answer, 503, "store_unavailable")
    await _ready(caller, "ready")
    ended = await caller.ended(asked["id"], seconds=40)
    events = await following
    assert ended["status"] == "completed"
    assert text_of(events) == ended["message"]["content"]
    assert endings_of(events) == ["reply.completed"]
    with alone.mongodb() as database:
        assert database["audit"].count_documents({"subject": asked["id"], "action": "reply.ended"}) == 1
        assert database["messages"].count_documents({"reply_to": asked["message_id"]}) == 1
