"""What clients do: each function is one kind of operation, asked for and written down."""

import random
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from tests.chaos.caller import Answer, Caller, seen_message
from tests.chaos.history import Action, digest
from tests.chaos.knowledge import Knowledge, Known, User
from tests.chaos.watcher import watch

_KEYLESS_SHARE = 0.02
_STORE_ONLY_SHARE = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A post that can be made again: everything it sends is fixed."""

    user: User
    conversation: str
    key: str | None
    body: bytes
    written: dict[str, Any]
    """What the history says of it."""


@dataclass(slots=True)
class Operations:
    urls: Sequence[str]
    knowledge: Knowledge
    dice: random.Random = field(default_factory=random.Random)

    async def post(self, caller: Caller) -> Attempt | None:
        """A new message. The attempt, where its outcome is unknown and may be learnt under its key."""
        knowledge = self.knowledge
        user, conversation = knowledge.next_place()
        asks_reply = self.dice.random() >= _STORE_ONLY_SHARE
        text = knowledge.new_text(user, asks_reply=asks_reply)
        key = None if self.dice.random() < _KEYLESS_SHARE else uuid.UUID(int=self.dice.getrandbits(128)).hex
        sent: dict[str, Any] = {"conversation_id": conversation, "content": text.content}
        if asks_reply:
            sent["reply"] = {}
        body = orjson.dumps(sent)
        written = {
            "conversation": conversation,
            "key": key,
            "body": digest(body),
            "text": digest(text.content),
            "canary": user.canary,
            "asks_reply": asks_reply,
            "expected_text": digest(text.reply) if text.reply is not None else None,
        }
        attempt = Attempt(user=user, conversation=conversation, key=key, body=body, written=written)
        answer = await self._try(caller, Action.POST, attempt)
        return attempt if caller.is_retired and key is not None and not answer.is_ok else None

    async def repost(self, caller: Caller, attempt: Attempt) -> bool:
        """The same under the same key. Whether its outcome is known now; the caller is retired if not."""
        answer = await self._try(caller, Action.REPOST, attempt)
        return answer.status is not None and answer.status < 500 and answer.status not in (409, 429)

    async def conflict(self, caller: Caller) -> None:
        known = self.knowledge.any_posted()
        if known is None or known.key is None:
            return
        text = self.knowledge.new_text(known.user, asks_reply=False)
        body = orjson.dumps({"conversation_id": known.conversation, "content": text.content})
        written = {
            "conversation": known.conversation,
            "key": known.key,
            "body": digest(body),
            "text": digest(text.content),
            "canary": known.user.canary,
        }
        await self._try(
            caller,
            Action.CONFLICT,
            Attempt(user=known.user, conversation=known.conversation, key=known.key, body=body, written=written),
        )

    async def get(self, caller: Caller) -> None:
        known = self.knowledge.any_posted()
        if known is None:
            return
        operation = caller.begin(Action.GET, known.user.id, target=known.message_id)
        answer = await caller.ask("GET", f"{self._url()}/v1/messages/{known.message_id}", known.user.id)
        caller.end(operation, answer, seen=(seen_message(answer.json),) if answer.is_ok else ())

    async def get_reply(self, caller: Caller) -> None:
        known = self.knowledge.latest(with_reply=True)
        if known is None:
            return
        operation = caller.begin(Action.GET_REPLY, known.user.id, target=known.reply_id)
        answer = await caller.ask("GET", f"{self._url()}/v1/replies/{known.reply_id}", known.user.id)
        message = answer.json.get("message") if answer.is_ok else None
        caller.end(
            operation,
            answer,
            reply_status=answer.json["status"] if answer.is_ok else None,
            seen=(seen_message(message),) if message is not None else (),
        )

    async def list_walk(self, caller: Caller) -> None:
        known = self.knowledge.any_posted()
        if known is None:
            return
        order = self.dice.choice(["asc", "desc"])
        params = {"conversation_id": known.conversation, "limit": str(self.dice.randint(10, 100)), "order": order}
        if self.dice.random() < 0.5:
            params["include"] = "deleted"
        operation = caller.begin(Action.LIST_WALK, known.user.id, conversation=known.conversation)
        answer, found = await caller.walk(self._url(), known.user.id, params)
        caller.end(
            operation, answer, seen=tuple(seen_message(message) for message in found), is_descending=order == "desc"
        )

    async def watch(self, caller: Caller) -> None:
        # Mostly what is being written now, sometimes what was written long ago.
        lately = self.dice.random() < 0.9
        known = self.knowledge.latest(with_reply=True) if lately else self.knowledge.any_posted()
        if known is None or known.reply_id is None:
            return
        reply_id = known.reply_id
        await watch(
            caller,
            self.urls,
            known.user.id,
            reply_id,
            dice=self.dice,
            may_be_hidden=lambda: reply_id in self.knowledge.ever_hidden,
        )

    async def delete(self, caller: Caller) -> None:
        known = self.knowledge.any_posted()
        if known is None:
            return
        # Answers too: the id of a reply is that of its message.
        target = known.reply_id if known.reply_id is not None and self.dice.random() < 0.2 else known.message_id
        self.knowledge.ever_hidden.add(target)
        operation = caller.begin(Action.DELETE, known.user.id, target=target)
        answer = await caller.ask("DELETE", f"{self._url()}/v1/messages/{target}", known.user.id)
        caller.end(operation, answer)
        self.knowledge.hidden.append((known.user, target))

    async def restore(self, caller: Caller) -> None:
        if not self.knowledge.hidden:
            return
        user, target = self.dice.choice(self.knowledge.hidden)
        operation = caller.begin(Action.RESTORE, user.id, target=target)
        answer = await caller.ask("POST", f"{self._url()}/v1/messages/{target}/restore", user.id)
        caller.end(operation, answer, seen=(seen_message(answer.json),) if answer.is_ok else ())

    async def cancel(self, caller: Caller) -> None:
        known = self.knowledge.latest(with_reply=True)
        if known is None:
            return
        operation = caller.begin(Action.CANCEL, known.user.id, target=known.reply_id)
        answer = await caller.ask("POST", f"{self._url()}/v1/replies/{known.reply_id}/cancel", known.user.id)
        caller.end(operation, answer, reply_status=answer.json["status"] if answer.is_ok else None)

    async def variant(self, caller: Caller) -> None:
        known = self.knowledge.latest(with_reply=True)
        if known is None:
            return
        key = uuid.UUID(int=self.dice.getrandbits(128)).hex
        operation = caller.begin(
            Action.VARIANT, known.user.id, target=known.message_id, key=key, body=digest(b"{}"), asks_reply=True
        )
        path = f"/v1/messages/{known.message_id}/replies"
        answer = await caller.ask("POST", self._url() + path, known.user.id, body=b"{}", key=key)
        caller.end(operation, answer, **_accepted(answer))

    async def foreign_read(self, caller: Caller) -> None:
        """Somebody else's message or reply is asked for, or to be changed."""
        known = self.knowledge.any_posted()
        if known is None:
            return
        stranger = self.knowledge.somebody_else(known.user)
        paths = [("GET", ""), ("GET", "/replies"), ("DELETE", ""), ("POST", "/restore")]
        method, path = self.dice.choice(paths)
        path = f"/v1/messages/{known.message_id}{path}"
        target = known.message_id
        if known.reply_id is not None and self.dice.random() < 0.5:
            target = known.reply_id
            method, path = self.dice.choice([("GET", ""), ("GET", "/stream"), ("POST", "/cancel")])
            path = f"/v1/replies/{known.reply_id}{path}"
        operation = caller.begin(Action.FOREIGN_READ, stranger.id, target=target)
        caller.end(operation, await caller.ask(method, self._url() + path, stranger.id))

    async def _try(self, caller: Caller, action: Action, attempt: Attempt) -> Answer:
        operation = caller.begin(action, attempt.user.id, **attempt.written)
        answer = await caller.ask(
            "POST", f"{self._url()}/v1/messages", attempt.user.id, body=attempt.body, key=attempt.key
        )
        learnt = _accepted(answer)
        caller.end(operation, answer, **learnt)
        if answer.is_ok:
            message_id, reply_id = learnt["message_id"], learnt["reply_id"]
            known = Known(attempt.user, attempt.conversation, message_id, reply_id, attempt.key, attempt.body)
            self.knowledge.posted.append(known)
        return answer

    def _url(self) -> str:
        return self.dice.choice(self.urls)


def _accepted(answer: Answer) -> dict[str, Any]:
    """What a 201 or 202 tells."""
    if not answer.is_ok:
        return {}
    content = answer.json
    message, reply = content["message"], content["reply"]
    return {
        "message_id": message["id"],
        "reply_id": reply["id"] if reply is not None else None,
        "seq": message["seq"],
        "is_replay": (answer.headers or {}).get("Idempotent-Replayed") == "true",
        "reply_status": reply["status"] if reply is not None else None,
        "seen": (seen_message(message),),
    }
