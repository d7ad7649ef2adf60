"""A client whose every call goes into the history, and the final read of what it left behind."""

import asyncio
import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from pymongo.database import Database

from tests.chaos.history import (
    Action,
    FinalMessage,
    FinalReply,
    HistoryWriter,
    Operation,
    Outcome,
    SeenEvent,
    SeenMessage,
    StoredDocument,
    digest,
)
from tests.fixtures.client import ENDINGS, Answer, Client, text_of

_CANARY = re.compile(rb"canary-[0-9a-f]{32}")
_PAUSE_SECONDS = 0.1
_OF_A_USER = ("messages", "replies", "conversations", "usage", "audit")


def new_canary() -> str:
    return f"canary-{secrets.token_hex(16)}"


@dataclass(frozen=True, slots=True)
class RecordedClient:
    """One user. An answer that never came is recorded as unknown and returned as None."""

    client: Client
    writer: HistoryWriter
    canary: str = field(default_factory=new_canary)

    def at(self, base_url: str) -> "RecordedClient":
        return RecordedClient(self.client.at(base_url), self.writer, self.canary)

    @property
    def user(self) -> str:
        return self.client.user_id

    async def post(
        self,
        content: str,
        *,
        key: str,
        conversation: str = "talk",
        asks_reply: bool = True,
        expected: str | None = None,
        action: Action = Action.POST,
    ) -> Operation:
        """`content` is sent with this user's canary behind it, and so the `expected` text of the reply has it too."""
        text = f"{content} {self.canary}"
        body: dict[str, Any] = {"conversation_id": conversation, "content": text}
        if asks_reply:
            body["reply"] = {}
        operation = self.writer.begin(
            action,
            self.user,
            conversation=conversation,
            key=key,
            body=digest(repr(body)),
            text=digest(text),
            canary=self.canary,
            asks_reply=asks_reply,
            expected_text=digest(f"{expected} {self.canary}") if expected is not None else None,
        )
        answer = await self._call("POST", "/v1/messages", json=body, headers={"Idempotency-Key": key})
        return self._end(operation, answer, **_accepted(answer))

    async def post_until_acknowledged(self, content: str, *, key: str, seconds: float, **more: Any) -> Operation:
        """Again under the same key, as clients are told to, until it is acknowledged."""
        async with asyncio.timeout(seconds):
            operation = await self.post(content, key=key, **more)
            while operation.outcome is not Outcome.OK:
                await asyncio.sleep(_PAUSE_SECONDS)
                operation = await self.post(content, key=key, action=Action.REPOST, **more)
        return operation

    async def variant(self, message_id: str, *, conversation: str = "talk") -> Operation:
        operation = self.writer.begin(Action.VARIANT, self.user, conversation=conversation, target=message_id)
        answer = await self._call("POST", f"/v1/messages/{message_id}/replies", json={})
        return self._end(operation, answer, **_accepted(answer))

    async def get(self, message_id: str, *, action: Action = Action.GET) -> Operation:
        operation = self.writer.begin(action, self.user, target=message_id)
        answer = await self._call("GET", f"/v1/messages/{message_id}")
        seen = (_seen(answer.json),) if answer is not None and answer.status == 200 else ()
        return self._end(operation, answer, seen=seen)

    async def walk(self, *, conversation: str = "talk", limit: int = 2, descending: bool = False) -> Operation:
        """The whole conversation by cursor."""
        operation = self.writer.begin(Action.LIST_WALK, self.user, conversation=conversation, is_descending=descending)
        seen, answer, canaries = await self._pages(conversation, limit, descending=descending)
        return self._end(operation, answer, seen=tuple(seen), canaries=tuple(sorted(canaries)))

    async def delete(self, message_id: str) -> Operation:
        operation = self.writer.begin(Action.DELETE, self.user, target=message_id)
        return self._end(operation, await self._call("DELETE", f"/v1/messages/{message_id}"))

    async def cancel(self, reply_id: str) -> Operation:
        operation = self.writer.begin(Action.CANCEL, self.user, target=reply_id)
        return self._end(operation, await self._call("POST", f"/v1/replies/{reply_id}/cancel"))

    async def watch(self, reply_id: str, *, cut_after: Sequence[int] = (), seconds: float = 30) -> Operation:
        """The stream to its end. After so many events in each of `cut_after` it is cut and resumed."""
        operation = self.writer.begin(Action.WATCH, self.user, target=reply_id)
        events: list[Any] = []
        seen: list[SeenEvent] = []
        cuts = list(cut_after)
        connection = 0
        async with asyncio.timeout(seconds):
            while not events or events[-1].name not in ENDINGS:
                most = cuts.pop(0) if cuts else None
                try:
                    async with self.client.watch(reply_id, last_event_id=events[-1].id if events else None) as watch:
                        taken = 0
                        while watch.status == 200 and taken != most and (event := await watch.next()) is not None:
                            taken += 1
                            events.append(event)
                            characters = len(event.content["text"]) if event.name == "reply.delta" else 0
                            seen.append(
                                SeenEvent(
                                    position=event.id, name=event.name, characters=characters, connection=connection
                                )
                            )
                except aiohttp.ClientError:
                    await asyncio.sleep(_PAUSE_SECONDS)
                connection += 1
        return self.writer.end(
            operation,
            status=200,
            events=tuple(seen),
            text=digest(text_of(events)),
            reply_status=events[-1].name.removeprefix("reply."),
        )

    async def final_read(self, database: Database[dict[str, Any]], conversations: Iterable[str] = ("talk",)) -> None:
        """All this user has, through the API and from MongoDB."""
        for conversation in conversations:
            messages, answer, _ = await self._pages(conversation, 100, descending=False, include="deleted")
            assert answer is not None, "the API answers when all is healed"
            for message in messages:
                self.writer.write(FinalMessage(user=self.user, conversation=conversation, message=message))
        for row in database["replies"].find({"user_id": self.user}, {"conversation_id": 1}):
            answer = await self.client.get(f"/v1/replies/{row['_id']}")
            if answer.status == 200:
                self.writer.write(self._final_reply(answer.json))
        for collection in _OF_A_USER:
            for row in database[collection].find({"user_id": self.user}):
                self.writer.write(StoredDocument.of(collection, row))

    def _final_reply(self, json: dict[str, Any]) -> FinalReply:
        return FinalReply(
            user=self.user,
            conversation=json["conversation_id"],
            id=json["id"],
            message_id=json["message_id"],
            status=json["status"],
            attempts=json["attempts"],
            text=digest(json["message"]["content"]) if "message" in json else None,
        )

    async def _pages(
        self, conversation: str, limit: int, *, descending: bool, **params: str
    ) -> tuple[list[SeenMessage], Answer | None, set[str]]:
        seen: list[SeenMessage] = []
        canaries: set[str] = set()
        query = {"conversation_id": conversation, "limit": str(limit), "order": "desc" if descending else "asc"}
        bound = "before" if descending else "after"
        while True:
            answer = await self._call("GET", "/v1/messages", params={**query, **params})
            if answer is None or answer.status != 200:
                return seen, answer, canaries
            canaries.update(_canaries(answer))
            seen += [_seen(one) for one in answer.json["data"]]
            if "next_cursor" not in answer.json:
                return seen, answer, canaries
            params = {**params, bound: answer.json["next_cursor"]}

    async def _call(self, method: str, path: str, **more: Any) -> Answer | None:
        try:
            return await self.client.request(method, path, **more)
        except (aiohttp.ClientError, TimeoutError):
            return None

    def _end(self, operation: Operation, answer: Answer | None, **learnt: Any) -> Operation:
        if answer is None:
            return self.writer.end(operation, status=None)
        if answer.status >= 400:
            code = answer.json.get("code") if answer.body.startswith(b"{") else None
            return self.writer.end(operation, status=answer.status, code=code, canaries=_canaries(answer))
        return self.writer.end(operation, status=answer.status, **{"canaries": _canaries(answer), **learnt})


def _accepted(answer: Answer | None) -> dict[str, Any]:
    if answer is None or answer.status not in (201, 202):
        return {}
    message, reply = answer.json["message"], answer.json["reply"]
    return {
        "message_id": message["id"],
        "seq": message["seq"],
        "reply_id": reply["id"] if reply is not None else None,
        "is_replay": "Idempotent-Replayed" in answer.headers,
        "seen": (_seen(message),),
    }


def _seen(json: dict[str, Any]) -> SeenMessage:
    return SeenMessage(
        id=json["id"],
        seq=json["seq"],
        role=json["role"],
        text=digest(json["content"]),
        reply_to=json.get("reply_to"),
        parent_id=json.get("parent_id"),
        is_deleted="deleted_at" in json,
    )


def _canaries(answer: Answer) -> tuple[str, ...]:
    headers = b"\n".join(f"{name}: {value}".encode() for name, value in answer.headers.items())
    return tuple(sorted({found.decode() for found in _CANARY.findall(answer.body + b"\n" + headers)}))
