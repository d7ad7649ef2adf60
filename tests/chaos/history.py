"""The history of a run: what clients asked and were told, which faults were made, and what was there at the end.

One JSON object a line, one file for each process that writes. Times are seconds of CLOCK_MONOTONIC, which all
processes of a machine share. Texts are kept as digests, and so are bodies: equality is all that is asked of them.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, Literal, Self, TypeVar

import orjson
from bson import ObjectId
from pydantic import Field, TypeAdapter

Record = TypeVar("Record")


class Action(StrEnum):
    POST = "post"
    REPOST = "repost"
    """The same body under the same key again."""
    CONFLICT = "conflict"
    """Another body under a key that was used."""
    GET = "get"
    """One message."""
    GET_REPLY = "get_reply"
    LIST_WALK = "list_walk"
    """All pages of a conversation by cursor, while others write."""
    WATCH = "watch"
    """One reply's stream to its end, resumed wherever it was cut."""
    DELETE = "delete"
    RESTORE = "restore"
    CANCEL = "cancel"
    VARIANT = "variant"
    """Another reply to a stored message; `target` is the message."""
    FOREIGN_READ = "foreign_read"
    """One user asks for what is another's; `target` is the id."""


POSTS = frozenset({Action.POST, Action.REPOST, Action.CONFLICT})


class Outcome(StrEnum):
    OK = "ok"
    """A 2xx: it has happened."""
    FAIL = "fail"
    """A definite no (4xx): it must have had no effect."""
    UNKNOWN = "unknown"
    """5xx, timeout, reset, or a client that died: it may have happened, now or later."""


def outcome_of(status: int | None) -> Outcome:
    """What a response's status means; None when there was no response."""
    if status is None or status >= 500:
        return Outcome.UNKNOWN
    return Outcome.OK if status < 400 else Outcome.FAIL


def digest(content: str | bytes) -> str:
    """Stands for a text or a body wherever only equality matters."""
    return blake2b(content.encode() if isinstance(content, str) else content, digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenMessage:
    """A message as a response or the final read showed it."""

    id: str
    seq: int
    role: str
    text: str
    """Digest of the content."""
    reply_to: str | None = None
    parent_id: str | None = None
    is_deleted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenEvent:
    """One event of a stream. `position` is its id; `connection` counts the times the watcher came back before it."""

    position: str
    name: str
    characters: int = 0
    """Length of its text in code points."""
    connection: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One call of one client. Written when it begins, and again when it is over: the later line counts."""

    record: Literal["operation"] = "operation"
    process: str
    """The client process and its task; never used again after an unknown outcome."""
    index: int
    """Counts the operations of this `process`."""
    user: str
    action: Action
    began: float
    ended: float | None = None
    outcome: Outcome = Outcome.UNKNOWN
    status: int | None = None
    """HTTP status; None without a response."""
    code: str | None = None
    """The problem's `code`, where the answer was a refusal."""
    conversation: str | None = None
    target: str | None = None
    """Id in the path: what is read, watched, hidden, shown again, cancelled or answered again."""
    key: str | None = None
    """Idempotency-Key."""
    body: str | None = None
    """Digest of what was sent."""
    text: str | None = None
    """Digest of the content that was posted, or of what a watcher has at the end of a stream."""
    canary: str | None = None
    """The secret of this user that stands in the content posted."""
    asks_reply: bool = False
    expected_text: str | None = None
    """Digest of the text that the reply must have if it completes, where the message scripted it."""
    message_id: str | None = None
    reply_id: str | None = None
    seq: int | None = None
    is_replay: bool = False
    """The answer said it was a replayed one."""
    reply_status: str | None = None
    """Status of the reply as the answer, or the stream's last event, has it."""
    seen: tuple[SeenMessage, ...] = ()
    """Messages in the answer, in its order; for a walk those of all pages."""
    is_descending: bool = False
    """A walk from the newest to the oldest."""
    events: tuple[SeenEvent, ...] = ()
    canaries: tuple[str, ...] = ()
    """All canaries found in the answer, headers included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    record: Literal["fault"] = "fault"
    kind: str
    target: str
    began: float
    healed: float | None = None
    """None: nothing to heal, or it was healed by what supervises the target."""
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalMessage:
    """A message as the API showed it when all was over, hidden ones included."""

    record: Literal["final_message"] = "final_message"
    user: str
    conversation: str
    message: SeenMessage


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalReply:
    """A reply as the API showed it when all was over."""

    record: Literal["final_reply"] = "final_reply"
    user: str
    conversation: str
    id: str
    message_id: str
    status: str
    attempts: int
    text: str | None = None
    """Digest of its message, where it has one that is not hidden."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredDocument:
    """A document as MongoDB held it when all was over; `content` is replaced by `text`, its digest."""

    record: Literal["stored"] = "stored"
    collection: str
    fields: dict[str, Any]

    @classmethod
    def of(cls, collection: str, row: Mapping[str, Any]) -> "StoredDocument":
        """From what the driver returned. Times become seconds since 1970, what JSON does not know becomes text."""
        fields = {name: _plain(value) for name, value in row.items() if name != "content"}
        if "content" in row:
            fields["text"] = digest(row["content"])
        return cls(collection=collection, fields=fields)


def _plain(value: Any) -> Any:
    match value:
        case datetime():
            return value.timestamp()
        case bytes():
            return value.hex()
        case ObjectId():
            return str(value)
        case Mapping():
            return {name: _plain(inner) for name, inner in value.items()}
        case list():
            return [_plain(inner) for inner in value]
        case _:
            return value


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """What is true of the run as a whole. Written when it begins, and again when more is known."""

    record: Literal["run"] = "run"
    seed: int
    commit: str
    settings: dict[str, str] = field(default_factory=dict)
    """Of the service, without the prefix."""
    began: float
    healed: float | None = None
    """When the last fault was healed."""
    drained: float | None = None
    """When the last reply had ended after that; None: never within the time given."""
    operation_seconds: float = 10.0
    """How long a client waits for an answer: no operation but a watch may take much longer."""


Line = Operation | Fault | FinalMessage | FinalReply | StoredDocument | RunFacts
_LINE: TypeAdapter[Line] = TypeAdapter(Annotated[Line, Field(discriminator="record")])


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """`operations` and `faults` are in the order in which they began."""

    run: RunFacts
    operations: tuple[Operation, ...] = ()
    faults: tuple[Fault, ...] = ()
    messages: tuple[FinalMessage, ...] = ()
    replies: tuple[FinalReply, ...] = ()
    stored: tuple[StoredDocument, ...] = ()

    def documents(self, collection: str) -> Iterator[dict[str, Any]]:
        return (document.fields for document in self.stored if document.collection == collection)


class HistoryWriter:
    """Appends to one file of the folder. What was written survives the writer's sudden end."""

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._name = name
        self._file = (folder / f"{name}.jsonl").open("ab", buffering=0)
        self._counts: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def write(self, line: Line) -> None:
        # One write call: lines of several writers of one file do not mix.
        self._file.write(orjson.dumps(line) + b"\n")

    def begin(self, action: Action, user: str, *, process: str | None = None, **known: Any) -> Operation:
        """An operation that begins now. `process` names the client task within this writer."""
        name = self._name if process is None else f"{self._name}.{process}"
        index = self._counts.get(name, 0)
        self._counts[name] = index + 1
        operation = Operation(process=name, index=index, user=user, action=action, began=time.monotonic(), **known)
        self.write(operation)
        return operation

    def end(self, operation: Operation, *, status: int | None, **learnt: Any) -> Operation:
        """The operation is over; `status` None says that there was no answer."""
        known = {"ended": time.monotonic(), "status": status, "outcome": outcome_of(status), **learnt}
        ended = replace(operation, **known)
        self.write(ended)
        return ended


def read_history(folder: Path) -> History:
    """The history in all files of the folder. Raises `ValueError` for a line that is none, and without run facts."""
    return history_of(line for path in sorted(folder.glob("*.jsonl")) for line in _lines(path))


def history_of(lines: Iterable[Line]) -> History:
    """Lines of whatever order as one history. Raises `ValueError` without run facts."""
    operations: dict[tuple[str, int], Operation] = {}
    faults: dict[tuple[str, str, float], Fault] = {}
    others: dict[type, list[Any]] = {FinalMessage: [], FinalReply: [], StoredDocument: [], RunFacts: []}
    for line in lines:
        match line:
            case Operation():
                operations[line.process, line.index] = line
            case Fault():
                faults[line.kind, line.target, line.began] = line
            case _:
                others[type(line)].append(line)
    if not others[RunFacts]:
        raise ValueError("The history says nothing of the run.")
    return History(
        run=others[RunFacts][-1],
        operations=tuple(sorted(operations.values(), key=lambda operation: operation.began)),
        faults=tuple(sorted(faults.values(), key=lambda fault: fault.began)),
        messages=tuple(others[FinalMessage]),
        replies=tuple(others[FinalReply]),
        stored=tuple(others[StoredDocument]),
    )


def _lines(path: Path) -> Iterator[Line]:
    with path.open("rb") as file:
        for text in file:
            # A writer that was killed may leave half a line at the very end.
            if text.endswith(b"\n"):
                yield _LINE.validate_json(text)
