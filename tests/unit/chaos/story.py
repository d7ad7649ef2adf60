"""A small history that keeps every promise, told step by step, and changed afterwards by tests that break one."""

from dataclasses import replace
from typing import Any

from tests.chaos.history import (
    Action,
    FinalMessage,
    FinalReply,
    History,
    Line,
    Operation,
    RunFacts,
    SeenEvent,
    SeenMessage,
    StoredDocument,
    digest,
    history_of,
    outcome_of,
)

SECRET_OF = {"ada": "canary-ada", "bob": "canary-bob"}
_ENDING_STEP = 7


class Story:
    """Everything a user does takes a tenth of a second, one thing after the other. Fields are there to be spoilt."""

    def __init__(self, **settings: str) -> None:
        self.run = RunFacts(seed=1, commit="none", settings=settings, began=0.0, healed=50.0, drained=51.0)
        self.operations: list[Operation] = []
        self.messages: list[FinalMessage] = []
        self.replies: list[FinalReply] = []
        self.documents: dict[str, dict[str, dict[str, Any]]] = {
            name: {} for name in ("messages", "replies", "conversations", "audit", "usage")
        }
        self.faults: list[Line] = []
        self._time = 0.0

    def history(self) -> History:
        stored = [
            StoredDocument(collection=name, fields=fields)
            for name, documents in self.documents.items()
            for fields in documents.values()
        ]
        return history_of([self.run, *self.operations, *self.faults, *self.messages, *self.replies, *stored])

    def does(self, action: Action, user: str = "ada", *, status: int | None = 200, **more: Any) -> Operation:
        began = self._time
        self._time += 0.1
        known = {"began": began, "ended": began + 0.05, "outcome": outcome_of(status), **more}
        operation = Operation(
            process="client", index=len(self.operations), user=user, action=action, status=status, **known
        )
        self.operations.append(operation)
        return operation

    def posts(self, text: str, user: str = "ada", *, is_stored: bool = True, **more: Any) -> Operation:
        """A message that wants no reply, with a key of its own; acknowledged unless `status` says otherwise."""
        known: dict[str, Any] = {"status": 201, "key": f"key of {text}", "conversation": "talk", **more}
        if is_stored:
            message = self.stores(text, user, role="user")
            if known["status"] is not None and known["status"] < 300:
                known = {"message_id": message.id, "seq": message.seq, **known}
        return self.does(
            Action.POST, user, body=digest(f"body {text}"), text=digest(text), canary=SECRET_OF.get(user), **known
        )

    def asks(self, text: str, answer: str = "Yes.", user: str = "ada", **more: Any) -> Operation:
        """A message, and its reply, which has completed."""
        question = self.stores(text, user, role="user")
        reply_id = self.replies_to(question, answer, user, **more)
        return self.does(
            Action.POST,
            user,
            status=202,
            key=f"key of {text}",
            conversation="talk",
            body=digest(f"body {text}"),
            text=digest(text),
            canary=SECRET_OF.get(user),
            asks_reply=True,
            expected_text=digest(answer),
            message_id=question.id,
            seq=question.seq,
            reply_id=reply_id,
        )

    def replies_to(self, question: SeenMessage, answer: str, user: str = "ada", **more: Any) -> str:
        reply_id = f"reply{len(self.replies) + 1}"
        message = self.stores(answer, user, role="assistant", id=reply_id, reply_to=question.id)
        fields: dict[str, Any] = {"status": "completed", "attempts": 1, "epoch": 1, "take": 1000, **more}
        self.replies.append(
            FinalReply(
                user=user,
                conversation="talk",
                id=reply_id,
                message_id=question.id,
                status=fields["status"],
                attempts=fields["attempts"],
                text=message.text,
            )
        )
        self.documents["replies"][reply_id] = {"_id": reply_id, "turn": len(self.replies), **fields}
        usage = f"{reply_id} {fields['epoch']} 1"
        self.documents["usage"][usage] = {"_id": usage, "reply_id": reply_id, "is_kept": True}
        self.audits(reply_id, "reply.asked")
        self.audits(reply_id, "reply.ended", outcome=fields["status"])
        return reply_id

    def stores(self, text: str, user: str, *, role: str, id: str = "", reply_to: str | None = None) -> SeenMessage:
        mine = [final for final in self.messages if final.user == user]
        message = SeenMessage(
            id=id or f"message{len(self.messages) + 1}",
            seq=len(mine) + 1,
            role=role,
            text=digest(text),
            reply_to=reply_to,
        )
        self.messages.append(FinalMessage(user=user, conversation="talk", message=message))
        self.documents["messages"][message.id] = {"_id": message.id}
        self.documents["conversations"][user] = {
            "_id": user,
            "user_id": user,
            "conversation_id": "talk",
            "last_seq": message.seq,
            "reserved": 0,
            "waiting_replies": 0,
            "active_reply": None,
        }
        if role != "assistant":
            self.audits(message.id, "message.accepted")
        return message

    def audits(self, subject: str, action: str, **more: Any) -> None:
        number = str(len(self.documents["audit"]))
        self.documents["audit"][number] = {"_id": number, "subject": subject, "action": action, **more}

    def hides(self, message_id: str, user: str = "ada") -> Operation:
        self.change(message_id, is_deleted=True)
        self.audits(message_id, "message.deleted")
        return self.does(Action.DELETE, user, status=204, target=message_id, conversation="talk")

    def walks(self, user: str = "ada", **more: Any) -> Operation:
        shown = [final.message for final in self.messages if final.user == user and not final.message.is_deleted]
        return self.does(Action.LIST_WALK, user, **{"conversation": "talk", "seen": tuple(shown), **more})

    def watches(self, reply_id: str, *pieces: str, **more: Any) -> Operation:
        """A stream of the first take, `pieces` its deltas."""
        events = [SeenEvent(position="1000-1", name="reply.started")]
        characters = 0
        for piece in pieces:
            characters += len(piece)
            events.append(SeenEvent(position=f"1000-{8 * characters + 2}", name="reply.delta", characters=len(piece)))
        events.append(SeenEvent(position=f"1000-{8 * characters + _ENDING_STEP}", name="reply.completed"))
        known: dict[str, Any] = {
            "target": reply_id,
            "text": digest("".join(pieces)),
            "events": tuple(events),
            "reply_status": "completed",
            **more,
        }
        return self.does(Action.WATCH, **known)

    def change(self, message_id: str, **fields: Any) -> None:
        """Another final message under this id."""
        for number, final in enumerate(self.messages):
            if final.message.id == message_id:
                self.messages[number] = replace(final, message=replace(final.message, **fields))

    def amend(self, operation: Operation, **fields: Any) -> None:
        """Another operation in its place."""
        self.operations[operation.index] = replace(operation, **fields)

    def forget(self, message_id: str) -> None:
        self.messages = [final for final in self.messages if final.message.id != message_id]
        del self.documents["messages"][message_id]


def a_day() -> Story:
    """Two users who ask, watch, walk and hide; and nothing is wrong."""
    story = Story()
    first = story.asks("How are you?", "Very well.")
    story.posts("And a note.")
    second = story.asks("What now?", "Tea, now.")
    story.does(
        Action.REPOST,
        status=202,
        is_replay=True,
        **{
            name: getattr(first, name)
            for name in ("conversation", "key", "body", "text", "canary", "asks_reply", "message_id", "seq", "reply_id")
        },
    )
    story.does(Action.CONFLICT, status=422, conversation="talk", key=first.key, body="other", text=digest("Other"))
    story.asks("I am Bob.", "Hello Bob.", "bob")
    story.watches(str(first.reply_id), "Very ", "well.")
    story.watches(str(second.reply_id), "Tea, now.")
    story.walks()
    story.walks(seen=tuple(reversed(story.walks().seen)), is_descending=True)
    story.does(Action.GET, target=first.message_id, seen=(story.messages[0].message,), canaries=("canary-ada",))
    story.does(Action.FOREIGN_READ, "bob", status=404, target=first.message_id)
    story.hides(str(first.message_id))
    story.walks()
    return story
