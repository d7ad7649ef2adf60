"""A reply: the work of answering one user message, its states, and the moves between them."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from message_service.ids import CharacterId, ConversationId, ConversationKey, MessageId, ReplyId, UserId, WorkerId
from message_service.messages.budget import Demand, Reservation


class ReplyStatus(StrEnum):
    QUEUED = "queued"
    """Asked for and stored; waits for a worker or for the conversation's earlier replies."""
    RUNNING = "running"
    """A worker holds a lease on it."""
    COMPLETED = "completed"
    """The provider came to its end; the message is stored."""
    INCOMPLETE = "incomplete"
    """Cut by length, deadline, a provider's filter, or one that died after text was shown; what there was is stored."""
    BLOCKED = "blocked"
    """Safety withheld it."""
    CANCELLED = "cancelled"
    """Somebody asked to stop; partial text is stored where there was any."""
    FAILED = "failed"
    """Given up, visibly, with an error."""


MOVES: dict[ReplyStatus, frozenset[ReplyStatus]] = {
    ReplyStatus.QUEUED: frozenset({ReplyStatus.RUNNING, ReplyStatus.CANCELLED, ReplyStatus.FAILED}),
    ReplyStatus.RUNNING: frozenset(
        {
            ReplyStatus.RUNNING,  # the lease ran out and another worker took it
            ReplyStatus.QUEUED,  # handed back: a retry later, or a worker that drains
            ReplyStatus.COMPLETED,
            ReplyStatus.INCOMPLETE,
            ReplyStatus.BLOCKED,
            ReplyStatus.CANCELLED,
            ReplyStatus.FAILED,
        }
    ),
    ReplyStatus.COMPLETED: frozenset(),
    ReplyStatus.INCOMPLETE: frozenset(),
    ReplyStatus.BLOCKED: frozenset(),
    ReplyStatus.CANCELLED: frozenset(),
    ReplyStatus.FAILED: frozenset(),
}

TERMINAL = frozenset(status for status, moves in MOVES.items() if not moves)

_TAKES_PER_EPOCH = 1000


def may_move(start: ReplyStatus, end: ReplyStatus) -> bool:
    return end in MOVES[start]


def first_take(epoch: int) -> int:
    """The take that the claim with this epoch begins with: later than any of an earlier claim."""
    return epoch * _TAKES_PER_EPOCH


class FinishReason(StrEnum):
    """Why the text ends where it ends."""

    STOP = "stop"
    LENGTH = "length"
    CANCELLED = "cancelled"
    ERROR = "error"
    CONTENT_FILTER = "content_filter"


class WorkKind(StrEnum):
    """What a worker can be told to take, in the order in which it is taken."""

    REPLY = "reply"
    """A person waits for the answer to what they just wrote."""
    VARIANT = "variant"
    """Somebody asked for another answer to an earlier message."""
    SUMMARY = "summary"
    """Background work: nobody waits for it."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one reply, in the classes that providers bill apart.

    `is_estimated` when the provider did not report them. Each adapter brings its vendor's counts to this:
    totals, and how much of them is special. Where a vendor does not tell a part, it is 0.
    """

    input_tokens: int
    """The whole prompt: uncached, read from a cache and written to one."""
    output_tokens: int
    """All that was written, reasoning included."""
    is_estimated: bool = False
    cached_input_tokens: int = 0
    """The part of `input_tokens` that was read from the provider's prompt cache."""
    cache_write_tokens: int = 0
    """The part of `input_tokens` that was written to the provider's prompt cache, at its shortest lifetime."""
    reasoning_tokens: int = 0
    """The part of `output_tokens` that was thought and not said."""

    @property
    def uncached_input_tokens(self) -> int:
        """The part of `input_tokens` that no cache had anything to do with."""
        return self.input_tokens - self.cached_input_tokens - self.cache_write_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One provider asked for a reply once, whatever came of it."""

    provider: str
    started_at: datetime
    ended_at: datetime
    host: str | None = None
    """Where it runs, as host and port."""
    model: str | None = None
    first_token_at: datetime | None = None
    usage: Usage | None = None
    cost_nano_usd: int | None = None
    """None: the price is not known, or nothing was used."""
    error: str | None = None
    """Code of what ended it, if that was not the end of its text."""
    warnings: tuple[str, ...] = ()
    """What was asked for and not done: dropped because the model does not take it, or written by another model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """What one attempt used whose prompt a provider took: it costs, whatever became of it."""

    number: int
    """Which of the attempts since the claim, from 1."""
    provider: str
    model: str
    usage: Usage
    cost_nano_usd: int | None
    """None: the price is not known."""
    price_table: str
    """The table that `cost_nano_usd` was reckoned by."""
    at: datetime
    is_kept: bool = False
    """Whether the reply's stored text ended with this attempt: then `usage` is the message's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AbandonedClaim:
    """A claim that ran out: its worker died, or was not heard of, and what it used is still to be booked."""

    epoch: int
    claimed_at: datetime
    attempts: tuple[Attempt, ...] = ()
    """As far as the worker had noted them with its lease; the last may have gone on."""


@dataclass(frozen=True, slots=True)
class ReplyError:
    """Why a reply failed, for whoever asked for it."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """How the caller wants the reply written. None: the service's or the provider's default."""

    instructions: str | None = None
    model: str | None = None
    provider: str | None = None
    strategy: str | None = None
    temperature: float | None = None
    max_output_tokens: int | None = None
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NewReply:
    """A reply somebody asks for, before it has a place in its conversation's queue."""

    id: ReplyId
    asked: Asked
    kind: WorkKind
    deadline_seconds: float
    """Time from acceptance until the reply fails if it is not done."""
    demand: Demand | None = None
    """What to set aside of the user's budget. None: there are no budgets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    id: ReplyId
    message_id: MessageId
    """The user message it answers."""
    conversation_key: ConversationKey
    conversation_id: ConversationId
    user_id: UserId
    status: ReplyStatus
    kind: WorkKind
    asked: Asked
    created_at: datetime
    deadline: datetime
    character_id: CharacterId | None = None
    """Who answers: the character the user message was addressed to."""
    attempts: int = 0
    epoch: int = 0
    """Rises with each claim. A worker whose epoch is no longer the stored one writes nothing."""
    owner: WorkerId | None = None
    is_cancel_requested: bool = False
    take: int = 0
    """The beginning the stored text belongs to: see `live.event.Position`."""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    provider: str | None = None
    model: str | None = None
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    error: ReplyError | None = None
    reservation: Reservation | None = None
    setback: ReplyError | None = None
    """Why the last attempt was handed back to the queue."""
    attempt_log: tuple[Attempt, ...] = ()
    """The last attempts at providers, oldest first."""
    abandoned: tuple[AbandonedClaim, ...] = ()
    """Earlier claims whose attempts are not in the log yet, nor in the ledger."""

    @property
    def is_terminal(self) -> bool:
        return self.status in TERMINAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How an attempt ended a reply. `text` is kept as an assistant message unless it is empty."""

    status: ReplyStatus
    take: int
    text: str = ""
    text_tokens: int = 0
    provider: str | None = None
    model: str | None = None
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    error: ReplyError | None = None
    attempt_log: tuple[Attempt, ...] = ()
    """The attempts at providers since the claim, oldest first."""
    spent: tuple[Spending, ...] = ()
    """By the attempts since the claim."""
