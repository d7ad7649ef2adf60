"""An API process whose open files are used up: it lives, and works again as soon as some are free."""

import asyncio
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import aiohttp

from tests.fixtures.client import Client
from tests.fixtures.service import StartService
from tests.fixtures.service_processes import Api

_OPEN_FILES = 160
_STRANGERS = 250
_PATIENCE_SECONDS = 3.0


@contextmanager
def _crowd(api: Api) -> Iterator[None]:
    """More connections than it may have open, none of which asks for anything."""
    with ExitStack() as stack:
        for _ in range(_STRANGERS):
            stranger = stack.enter_context(socket.socket())
            stranger.setblocking(False)
            stranger.connect_ex(("127.0.0.1", api.port))
        yield


async def _post(caller: Client, key: str) -> int | None:
    """The status; None where no answer came."""
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            answer = await caller.post(
                "/v1/messages", {"conversation_id": "conv-1", "content": key}, headers={"Idempotency-Key": key}
            )
    except (TimeoutError, aiohttp.ClientError):
        return None
    return answer.status


async def test_posts_work_again_when_open_files_were_used_up(start_service: StartService) -> None:
    async with start_service(apis=1, workers=0) as service:
        api, caller = service.apis[0], service.client()
        await caller.store("before")
        resource.prlimit(api.child.pid, resource.RLIMIT_NOFILE, (_OPEN_FILES, _OPEN_FILES))
        with _crowd(api):
            meanwhile = [await _post(caller, f"key-{number}") for number in range(2)]
        assert None in meanwhile, "there was room for everybody"
        assert [await _post(caller, f"key-{number}") for number in range(2)] == [201, 201]
        assert [message["content"] for message in (await caller.page())["data"]] == ["key-1", "key-0", "before"]
        assert api.child.poll() is None
