"""The documents that replies leave behind when they end, gathered so that several share a command. Pure."""

from dataclasses import dataclass, field
from datetime import datetime

from message_service.clock import now
from message_service.ids import MessageId
from message_service.messages.message import Message, Role
from message_service.messages.reply import Outcome, Reply, ReplyStatus
from message_service.store.accounts import charges
from message_service.store.audit import AuditAction, audit_row
from message_service.store.database import Row
from message_service.store.dead_letters import dead_letter_row
from message_service.store.ledger import ledger_rows
from message_service.store.mapping import message_to_row


@dataclass(slots=True)
class EndingRows:
    messages: list[Row] = field(default_factory=list)
    usage: list[Row] = field(default_factory=list)
    charges: list[Row] = field(default_factory=list)
    """Updates of budgets."""
    dead_letters: list[Row] = field(default_factory=list)
    audit: list[Row] = field(default_factory=list)

    def add(self, reply: Reply, outcome: Outcome, message: Message | None, row: Row, at: datetime) -> None:
        """One reply's. `row` is the reply as it is stored now that it has ended."""
        if message is not None:
            self.messages.append(message_to_row(message))
        self.usage += ledger_rows(reply, outcome.spent)
        self.charges += charges(reply.user_id, reply.reservation, outcome.spent, is_released=True)
        if outcome.status is ReplyStatus.FAILED:
            self.dead_letters.append(dead_letter_row(reply, row))
        self.audit.append(
            audit_row(
                AuditAction.REPLY_ENDED,
                user_id=reply.user_id,
                conversation_id=reply.conversation_id,
                subject=reply.id,
                at=at,
                outcome=outcome.status.value,
            )
        )


def message_of(reply: Reply, outcome: Outcome, seq: int) -> Message:
    """The assistant message that a reply with text becomes."""
    return Message(
        id=MessageId(reply.id),
        conversation_id=reply.conversation_id,
        user_id=reply.user_id,
        seq=seq,
        parent_id=reply.message_id,
        role=Role.ASSISTANT,
        content=outcome.text,
        tokens=outcome.text_tokens,
        created_at=now(),
        character_id=reply.character_id,
        reply_to=reply.message_id,
        provider=outcome.provider,
        model=outcome.model,
        finish_reason=outcome.finish_reason,
        usage=outcome.usage,
    )
