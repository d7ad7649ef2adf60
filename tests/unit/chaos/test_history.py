"""Histories written by several processes and read as one."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from bson import ObjectId

from tests.chaos.history import (
    Action,
    Fault,
    FinalMessage,
    HistoryWriter,
    Outcome,
    RunFacts,
    SeenMessage,
    StoredDocument,
    digest,
    outcome_of,
    read_history,
)

RUN = RunFacts(seed=7, commit="abc", began=0.0)


def test_files_of_several_processes_become_one_history_in_the_order_of_time(tmp_path: Path) -> None:
    with HistoryWriter(tmp_path, "nemesis") as nemesis, HistoryWriter(tmp_path, "one") as one:
        nemesis.write(RUN)
        first = one.begin(Action.POST, "ada", process="3", conversation="talk", key="k")
        with HistoryWriter(tmp_path, "two") as two:
            second = two.begin(Action.WATCH, "bob", target="reply1")
        nemesis.write(Fault(kind="kill", target="worker", began=second.began))
        done = one.end(first, status=201, message_id="message1", seq=1)
        message = SeenMessage(id="message1", seq=1, role="user", text=digest("Hello"))
        one.write(FinalMessage(user="ada", conversation="talk", message=message))
    history = read_history(tmp_path)
    assert history.run == RUN
    assert history.operations == (done, second)
    assert done.outcome is Outcome.OK
    assert (done.process, done.index) == ("one.3", 0)
    assert [fault.kind for fault in history.faults] == ["kill"]
    assert history.messages[0].message == message


def test_operation_is_unknown_when_its_client_died(tmp_path: Path) -> None:
    with HistoryWriter(tmp_path, "one") as one:
        one.write(RUN)
        one.begin(Action.POST, "ada")
    with (tmp_path / "one.jsonl").open("ab") as file:
        file.write(b'{"record":"operation","process":"one","ind')
    (operation,) = read_history(tmp_path).operations
    assert operation.outcome is Outcome.UNKNOWN
    assert operation.ended is None


def test_line_is_refused_when_it_is_no_record(tmp_path: Path) -> None:
    (tmp_path / "one.jsonl").write_text('{"record":"gossip"}\n')
    with pytest.raises(ValueError, match="gossip"):
        read_history(tmp_path)


def test_history_is_refused_when_nothing_is_known_of_the_run(tmp_path: Path) -> None:
    with HistoryWriter(tmp_path, "one") as one:
        one.begin(Action.POST, "ada")
    with pytest.raises(ValueError, match="nothing of the run"):
        read_history(tmp_path)


def test_document_keeps_its_facts_and_not_its_text_when_it_is_written(tmp_path: Path) -> None:
    moment = datetime(2026, 1, 31, tzinfo=UTC)
    row = {"_id": ObjectId(), "content": "Hello", "at": moment, "hash": b"\x01", "usage": {"at": moment}, "tags": [1]}
    with HistoryWriter(tmp_path, "final") as final:
        final.write(RUN)
        final.write(StoredDocument.of("messages", row))
    (fields,) = read_history(tmp_path).documents("messages")
    assert fields == {
        "_id": str(row["_id"]),
        "text": digest("Hello"),
        "at": moment.timestamp(),
        "hash": "01",
        "usage": {"at": moment.timestamp()},
        "tags": [1],
    }


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(202, Outcome.OK), (304, Outcome.OK), (404, Outcome.FAIL), (429, Outcome.FAIL), (503, Outcome.UNKNOWN)],
)
def test_status_tells_what_happened(status: int, outcome: Outcome) -> None:
    assert outcome_of(status) is outcome


def test_outcome_is_unknown_without_an_answer() -> None:
    assert outcome_of(None) is Outcome.UNKNOWN
