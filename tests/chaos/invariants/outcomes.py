"""Every reply comes to exactly one end, in its turn, by the worker that had it last (I4, I6, I13, I14)."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

from tests.chaos.history import Action, Outcome
from tests.chaos.invariants.evidence import Evidence, Violation, violation

_TERMINAL = {"completed", "incomplete", "blocked", "cancelled", "failed"}
_WITH_TEXT = {"completed", "incomplete"}
_TAKES_PER_EPOCH = 1000
_DEFAULT_MAX_ATTEMPTS = "5"


def one_outcome_each(evidence: Evidence) -> Iterator[Violation]:
    """I4: every reply has ended, once, and its message is the text that this end says."""
    expected = {
        post.reply_id: post for post in evidence.posts if post.outcome is Outcome.OK and post.expected_text is not None
    }
    for reply in evidence.history.replies:
        if reply.status not in _TERMINAL:
            yield violation("I4", f"{reply.id} is still {reply.status}")
            continue
        final = evidence.messages.get(reply.id)
        if reply.status in _WITH_TEXT and final is None:
            yield violation("I4", f"{reply.id} is {reply.status} and has no text")
        if reply.status == "failed" and final is not None:
            yield violation("I4", f"{reply.id} is failed and has a text")
        if final is not None and not final.message.is_deleted and final.message.text != reply.text:
            yield violation("I4", f"{reply.id} and its message have different texts")
        if final is not None and final.message.reply_to != reply.message_id:
            yield violation(
                "I4", f"{reply.id} answers {reply.message_id}; its message answers {final.message.reply_to}"
            )
        asking = expected.get(reply.id)
        if asking is not None and reply.status == "completed" and final and final.message.text != asking.expected_text:
            yield violation("I4", f"{reply.id} is completed and its text is not whole", asking)
    yield from _doubled(evidence)
    yield from _conversations_not_at_rest(evidence)


def outcomes_in_question_order(evidence: Evidence) -> Iterator[Violation]:
    """I6: an answer comes after its question, and answers come in the order in which they were asked for."""
    turns = {reply_id: fields["turn"] for reply_id, fields in evidence.stored_replies.items()}
    for place, messages in evidence.conversations.items():
        seqs = {final.message.id: final.message.seq for final in messages}
        latest_turn, latest = 0, ""
        for final in messages:
            answer = final.message
            if answer.role != "assistant":
                continue
            if answer.seq < seqs.get(answer.reply_to or "", 0):
                yield violation("I6", f"{answer.id} stands before its question in {place}")
            turn = turns.get(answer.id, latest_turn)
            if turn < latest_turn:
                yield violation("I6", f"{answer.id} was asked for before {latest} and stands after it in {place}")
            latest_turn, latest = max((latest_turn, latest), (turn, answer.id))


def ended_by_the_last_claim(evidence: Evidence) -> Iterator[Violation]:
    """I13: no more attempts than allowed or needed, and what is stored was written under the epoch that is stored."""
    yield from _attempted_without_need(evidence)
    allowed = int(evidence.history.run.settings.get("MAX_ATTEMPTS", _DEFAULT_MAX_ATTEMPTS))
    for reply_id, fields in evidence.stored_replies.items():
        # The claim that finds too many attempts made counts as one itself.
        if fields["attempts"] > allowed + 1:
            yield violation("I13", f"{reply_id} was attempted {fields['attempts']} times; {allowed} are allowed")
        if fields["epoch"] < fields["attempts"]:
            yield violation("I13", f"{reply_id} has epoch {fields['epoch']} after {fields['attempts']} attempts")
        written_under = fields.get("take", 0) // _TAKES_PER_EPOCH
        if fields["status"] in _WITH_TEXT and written_under != fields["epoch"]:
            yield violation("I13", f"{reply_id} was ended by claim {written_under} when {fields['epoch']} had it")
        if fields["status"] not in ("queued", "running") and {"abandoned", "under_way"} & fields.keys():
            yield violation("I13", f"{reply_id} has ended, and attempts of a worker that died were never booked")
    for fields in evidence.documents("usage"):
        reply = evidence.stored_replies.get(fields["reply_id"])
        epoch = int(fields["_id"].split(" ")[1])
        # An earlier claim's tokens are booked as well; only the last one's text is kept.
        if reply is None or epoch > reply["epoch"] or (fields["is_kept"] and epoch != reply["epoch"]):
            yield violation("I13", f"the usage {fields['_id']} was not written by the last claim")


def _attempted_without_need(evidence: Evidence) -> Iterator[Violation]:
    """Where nothing went wrong, what was scripted to complete does so at the first attempt."""
    if evidence.history.faults:
        return
    cancelled = {cancel.target for cancel in evidence.operations(Action.CANCEL)}
    for post in evidence.posts:
        reply = evidence.replies.get(post.reply_id or "")
        if post.expected_text is not None and reply is not None and reply.id not in cancelled and reply.attempts > 1:
            yield violation("I13", f"{reply.id} was attempted {reply.attempts} times, and nothing had gone wrong", post)


def audited_once(evidence: Evidence) -> Iterator[Violation]:
    """I14: one audit row for each message accepted, reply asked for, and end; and for each change of visibility."""
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for fields in evidence.documents("audit"):
        rows[fields["subject"]].append(fields)
    known = evidence.messages.keys() | evidence.replies.keys()
    for subject in sorted(rows.keys() - known):
        yield violation("I14", f"the audit tells of {subject}, which is not there")
    yield from _messages_audited(evidence, rows)
    for reply in evidence.history.replies:
        asked = sum(row["action"] == "reply.asked" for row in rows[reply.id])
        if asked != 1:
            yield violation("I14", f"{reply.id} was asked for {asked} times by the audit")
        ends = [row.get("outcome") for row in rows[reply.id] if row["action"] == "reply.ended"]
        if reply.status in _TERMINAL and ends != [reply.status]:
            yield violation("I14", f"{reply.id} is {reply.status}; by the audit it ended as {ends}")


def _messages_audited(evidence: Evidence, rows: dict[str, list[dict[str, Any]]]) -> Iterator[Violation]:
    for final in evidence.history.messages:
        actions = Counter(row["action"] for row in rows[final.message.id])
        if final.message.role != "assistant" and actions["message.accepted"] != 1:
            yield violation("I14", f"{final.message.id} was accepted {actions['message.accepted']} times by the audit")
        if actions["message.deleted"] - actions["message.restored"] != int(final.message.is_deleted):
            yield violation("I14", f"the audit and {final.message.id} disagree on whether it is hidden")
    for hiding in evidence.operations(Action.DELETE):
        is_told = any(row["action"] == "message.deleted" for row in rows[hiding.target or ""])
        if hiding.outcome is Outcome.OK and not is_told:
            yield violation("I14", f"{hiding.target} was hidden and the audit says nothing", hiding)


def _doubled(evidence: Evidence) -> Iterator[Violation]:
    """No id comes twice, and no question has more answers than replies."""
    ids = Counter(final.message.id for final in evidence.history.messages)
    ids.update(f"reply {reply.id}" for reply in evidence.history.replies)
    for id_, count in ids.items():
        if count > 1:
            yield violation("I4", f"{id_} is there {count} times")
    answers: Counter[str] = Counter(
        final.message.reply_to for final in evidence.history.messages if final.message.reply_to is not None
    )
    for message_id, count in answers.items():
        if count > len(evidence.replies_to[message_id]):
            yield violation(
                "I4", f"{message_id} has {count} answers and {len(evidence.replies_to[message_id])} replies"
            )


def _conversations_not_at_rest(evidence: Evidence) -> Iterator[Violation]:
    for fields in evidence.documents("conversations"):
        left = {name: fields[name] for name in ("reserved", "waiting_replies", "active_reply") if fields[name]}
        if left:
            yield violation("I4", f"nothing is going on in {fields['_id']}, and it holds {left}")
