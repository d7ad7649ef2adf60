"""A conversation's next state as an update pipeline: reading it and writing it then take one command, not two.

The rule is `Conversation.with_message` and `with_reply`; this only says it in MongoDB's words.
"""

from typing import Any

from message_service.ids import ConversationId, MessageId, ReplyId, UserId


def step_pipeline(
    user_id: UserId, conversation_id: ConversationId, message: MessageId | None, reply: ReplyId | None
) -> list[dict[str, Any]]:
    """The stored conversation, or one that is not stored yet, with one more message and one more reply asked for.

    It knows no limit: whoever has the state before the step decides whether it may stand.
    """
    was_active = {"$ifNull": ["$active_reply", None]}
    added = {
        "last_seq": 1 if message is not None else 0,
        "reserved": 1 if reply is not None else 0,
        "asked_replies": 1 if reply is not None else 0,
    }
    fields: dict[str, Any] = {
        "user_id": {"$literal": user_id},
        "conversation_id": {"$literal": conversation_id},
        "head": reply or message,
        "active_reply": {"$ifNull": ["$active_reply", reply]},
        "waiting_replies": _plus(
            "waiting_replies", {"$cond": [{"$eq": [was_active, None]}, 0, 1]} if reply is not None else 0
        ),
        **{field: _plus(field, number) for field, number in added.items()},
    }
    return [{"$set": fields}]


def _plus(field: str, number: Any) -> dict[str, Any]:
    return {"$add": [{"$ifNull": [f"${field}", 0]}, number]}
