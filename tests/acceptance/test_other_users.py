"""What is someone else's answers exactly like what does not exist, whatever is asked about it."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import pytest_asyncio

from message_service.ids import new_message_id
from tests.acceptance.expectations import told
from tests.fixtures.client import Answer, Client
from tests.fixtures.service import Service

_NOT_TOLD = {"X-Request-ID", "Date", "RateLimit"}


@dataclass(frozen=True)
class Owned:
    """What another user has."""

    owner: Client
    message: str
    deleted: str
    reply: str
    running: str
    cursor: str


@pytest_asyncio.fixture(scope="module")
async def owned(service: Service) -> Owned:
    owner = service.client()
    asked = await owner.ask("/script rate=max say=hello", "conv-theirs")
    await owner.ended(asked["id"])
    deleted = await owner.store("deleted", "conv-theirs")
    await owner.delete(f"/v1/messages/{deleted['id']}")
    running = await owner.ask("/script first=600 say=never", "conv-busy")
    await owner.reply_when(running["id"], "running")
    page = await owner.page("conv-theirs", limit="1")
    return Owned(owner, asked["message_id"], deleted["id"], asked["id"], running["id"], page["next_cursor"])


def _shown(answer: Answer, id_: str) -> tuple[int, object, list[tuple[str, str]]]:
    """All that a caller could tell two answers apart by."""
    content: object = answer.body
    if answer.headers.get("Content-Type") == "application/problem+json":
        content = told(answer)
        assert id_ not in answer.json["detail"]
    headers = [(name, text) for name, text in answer.headers.items() if name not in _NOT_TOLD]
    return answer.status, content, [header for header in headers if header[0].lower() != "content-length"]


_PATHS = [
    ("GET", "/v1/messages/{id}", None),
    ("DELETE", "/v1/messages/{id}", None),
    ("PUT", "/v1/messages/{id}", {}),
    ("POST", "/v1/messages/{id}/restore", None),
    ("POST", "/v1/messages/{id}/replies", {}),
    ("GET", "/v1/messages/{id}/replies", None),
    ("GET", "/v1/replies/{id}", None),
    ("GET", "/v1/replies/{id}/stream", None),
    ("GET", "/v1/replies/{id}/stream?after=0-0", None),
    ("POST", "/v1/replies/{id}/cancel", None),
    ("GET", "/v1/messages?conversation_id=conv-theirs&before={id}", None),
    ("GET", "/v1/messages?conversation_id=conv-theirs&after={id}", None),
    ("GET", "/v1/messages?conversation_id=conv-theirs&around={id}&include=deleted", None),
    ("POST", "/v1/messages", {"conversation_id": "conv-theirs", "content": "x", "parent_id": "{id}"}),
]
_IDS: dict[str, Callable[[Owned], str]] = {
    "message": lambda owned: owned.message,
    "deleted message": lambda owned: owned.deleted,
    "ended reply": lambda owned: owned.reply,
    "running reply": lambda owned: owned.running,
}


@pytest.mark.parametrize(("method", "path", "body"), _PATHS)
@pytest.mark.parametrize("what", _IDS)
async def test_answers_are_the_same_when_it_is_someone_elses_and_when_it_is_nobodys(
    service: Service, owned: Owned, what: str, method: str, path: str, body: dict[str, str] | None
) -> None:
    async def ask(id_: str) -> Answer:
        asked = None if body is None else {name: text.replace("{id}", id_) for name, text in body.items()}
        return await stranger.request(method, path.replace("{id}", id_), json=asked)

    stranger = service.client(X_User_Roles="admin,service")
    theirs = _IDS[what](owned)
    nobodys = new_message_id()
    assert _shown(await ask(theirs), theirs) == _shown(await ask(nobodys), nobodys)
    assert (await ask(theirs)).status in (404, 405, 422)


async def test_conversation_is_empty_when_it_is_someone_elses(service: Service, owned: Owned) -> None:
    stranger = service.client()
    for conversation_id in ("conv-theirs", "conv-busy"):
        page = await stranger.page(conversation_id, include="deleted")
        assert page == {"object": "list", "data": [], "has_more": False, "active_replies": []}


async def test_cursor_is_refused_when_it_is_someone_elses(service: Service, owned: Owned) -> None:
    stranger = service.client()
    answers = [
        await stranger.get("/v1/messages", params={"conversation_id": "conv-theirs", "before": cursor})
        for cursor in (owned.cursor, "cur_AAAAAAAAAAAAAA")
    ]
    assert [answer.status for answer in answers] == [400, 400]
    assert told(answers[0]) == told(answers[1])


async def test_nothing_has_changed_when_strangers_have_tried_everything(service: Service, owned: Owned) -> None:
    before = await owned.owner.page("conv-theirs", include="deleted")
    stranger = service.client(X_User_Roles="admin,service")
    for id_ in (owned.message, owned.deleted, owned.reply, owned.running):
        for method, path, _ in _PATHS[:10]:
            await stranger.request(method, path.replace("{id}", id_), json={} if method == "POST" else None)
    assert await owned.owner.page("conv-theirs", include="deleted") == before
    assert (await owned.owner.reply(owned.running))["status"] == "running"
    await owned.owner.post(f"/v1/replies/{owned.running}/cancel")
    await owned.owner.ended(owned.running)
