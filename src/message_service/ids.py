"""Identifiers as distinct types. Those we make sort by the time they were made (ULID)."""

import os
import re
import time
from typing import NewType

UserId = NewType("UserId", str)
ConversationId = NewType("ConversationId", str)
ConversationKey = NewType("ConversationKey", str)
"""One user's conversation: the same conversation id under two users is two conversations."""
CharacterId = NewType("CharacterId", str)
MessageId = NewType("MessageId", str)
ReplyId = NewType("ReplyId", str)
"""Fixed when a reply is asked for; becomes the `MessageId` of the message it ends in."""
WorkerId = NewType("WorkerId", str)

EXTERNAL_ID_PATTERN = r"^[\x21-\x7e]{1,128}$"
"""Ids that other services chose: 1 to 128 visible ASCII characters, so none holds a space."""

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [high + low for high in _CROCKFORD for low in _CROCKFORD]
_OWN_ID = re.compile(r"msg_[0-9A-HJKMNP-TV-Z]{26}")


def new_message_id() -> MessageId:
    return MessageId("msg_" + _ulid())


def new_reply_id() -> ReplyId:
    return ReplyId("msg_" + _ulid())


def new_worker_id() -> WorkerId:
    return WorkerId("wrk_" + _ulid())


def new_request_id() -> str:
    return "req_" + _ulid()


def is_own_id(text: str) -> bool:
    """Whether `text` could be a message or reply id that this service made."""
    return _OWN_ID.fullmatch(text) is not None


def conversation_key(user_id: UserId, conversation_id: ConversationId) -> ConversationKey:
    """Injective, because neither part can hold a space."""
    return ConversationKey(f"{user_id} {conversation_id}")


def _ulid() -> str:
    """48 bits of milliseconds and 80 random bits in Crockford's base 32 (github.com/ulid/spec)."""
    number = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10))
    return "".join([_PAIRS[number >> shift & 1023] for shift in range(120, -1, -10)])
