"""The ledger, the messages' own usage, the replies' logs, the report and the counters tell the same, to the token."""

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from message_service.clock import now
from message_service.ids import ConversationId
from message_service.messages.reply import Asked, Reply
from message_service.metrics import Metrics
from message_service.store.database import Database, Row
from message_service.store.usage_report import TOKEN_FIELDS, Dimension, UsageQuery, UsageReports
from message_service.wiring import api as api_wiring
from message_service.wiring import worker as worker_wiring
from tests.fixtures.samples import USER
from tests.fixtures.upstream import run_model_server
from tests.integration.stage import Stage, open_stage
from tests.integration.steps import Steps, die_over

ROUNDS = 40
WORDS = "/script rate=max tokens=9"
BY_OURSELVES = Asked(provider="scripted")
STORIES = {
    "completed": (WORDS, BY_OURSELVES),
    "failed over": ("/script rate=max tokens=4", Asked()),
    "tried again": ("/script rate=max tokens=5 fail=cut@0 attempts=1", BY_OURSELVES),
    "incomplete": ("/script rate=max tokens=30 fail=cut@8", BY_OURSELVES),
    "failed": ("/script fail=auth", BY_OURSELVES),
    "cancelled": ("/script tokens=3000 rate=10", BY_OURSELVES),
}


@pytest.fixture
def registries(monkeypatch: pytest.MonkeyPatch) -> list[Metrics]:
    """The metrics of every process that is opened, in the order of opening."""
    opened: list[Metrics] = []

    def open_metrics() -> Metrics:
        opened.append(Metrics())
        return opened[-1]

    for part in (api_wiring, worker_wiring):
        monkeypatch.setattr(part, "Metrics", open_metrics)
    return opened


def counted(registries: list[Metrics]) -> Counter[tuple[str, str]]:
    """Tokens by provider and class, over all processes."""
    found: Counter[tuple[str, str]] = Counter()
    for metrics in registries:
        for family in metrics.provider_tokens.collect():
            for sample in family.samples:
                if sample.name.endswith("_total"):
                    found[sample.labels["provider"], sample.labels["token_class"]] += int(sample.value)
    return found


def booked(rows: list[Row]) -> Counter[tuple[str, str]]:
    found: Counter[tuple[str, str]] = Counter()
    for row in rows:
        provider = row["provider"]
        found[provider, "cached_input"] += row["cached_input_tokens"]
        found[provider, "cache_write"] += row["cache_write_tokens"]
        found[provider, "input"] += row["input_tokens"] - row["cached_input_tokens"] - row["cache_write_tokens"]
        found[provider, "output"] += row["output_tokens"] - row["reasoning_tokens"]
        found[provider, "reasoning"] += row["reasoning_tokens"]
    return found


def added(usages: list[Row]) -> dict[str, int]:
    return {field: sum(usage[field] for usage in usages) for field in TOKEN_FIELDS}


async def _cancel_when_shown(stage: Stage, reply: Reply) -> None:
    await stage.has_text(reply)
    await stage.cancel(reply)
    await stage.ended(reply)


async def test_all_agree_after_hundreds_of_replies_of_every_kind(
    stores_of_the_stage: dict[str, Any], database: Database, steps: Steps, registries: list[Metrics]
) -> None:
    async with run_model_server() as server:
        server.text = ""  # it reads the prompt, bills it and says nothing
        settings = stores_of_the_stage | {"providers": ("lm_studio", "scripted"), "lm_studio_url": (server.url,)}
        async with open_stage(**settings) as stage:
            replies: dict[str, list[Reply]] = {story: [] for story in (*STORIES, "worker died")}
            for number in range(ROUNDS):
                reply = await stage.ask(WORDS, conversation_id=ConversationId(f"died-{number}"), asked=BY_OURSELVES)
                await die_over(reply, steps.claims, stage.api.channel, "Some words that were shown.")
                replies["worker died"].append(reply)
            async with stage.worker(drain_seconds=0):
                for number in range(ROUNDS):
                    for story, (script, asked) in STORIES.items():
                        place = ConversationId(f"{story}-{number % 20}".replace(" ", "-"))
                        replies[story].append(await stage.ask(script, conversation_id=place, asked=asked))
                await asyncio.gather(*(_cancel_when_shown(stage, one) for one in replies["cancelled"][:10]))
            # The first worker hands back what it was at; what it had used by then stays booked.
            handed_back = await database.usage.count_documents({"is_kept": False})
            async with stage.worker():
                cancelling = [asyncio.create_task(stage.cancel(one)) for one in replies["cancelled"][10:]]
                await asyncio.gather(*cancelling)
                for one in [one for story in replies.values() for one in story]:
                    await stage.ended(one)
    rows = await database.usage.find().to_list()
    # A text that an earlier claim left behind, of a reply cancelled before the next one, has no usage of its own.
    messages = await database.messages.find({"role": "assistant", "usage": {"$exists": True}}).to_list()
    stored = await database.replies.find().to_list()
    ends = Counter(reply["status"] for reply in stored)
    assert ends == {"completed": 4 * ROUNDS, "incomplete": ROUNDS, "failed": ROUNDS, "cancelled": ROUNDS}
    assert handed_back > 0
    assert len([row for row in rows if row.get("is_recovered")]) == ROUNDS, "their workers died"
    assert len([row for row in rows if row["provider"] == "lm_studio"]) == ROUNDS, "failed over, and billed"
    assert len([row for row in rows if row["is_kept"]]) == len(messages)
    assert added([row for row in rows if row["is_kept"]]) == added([message["usage"] for message in messages])
    assert added([attempt["usage"] for reply in stored for attempt in reply["attempt_log"] if "usage" in attempt]) == (
        added(rows)
    ), "the replies' own logs"
    assert counted(registries) == booked(rows)
    query = UsageQuery(user_id=USER, since=now() - timedelta(days=1), until=now() + timedelta(days=1))
    (report,) = await UsageReports(database).read(query, limit=2)
    assert {field: report.sums[field] for field in TOKEN_FIELDS} == added(rows)
    assert report.sums["attempts"] == len(rows)
    by_model = await UsageReports(database).read(
        UsageQuery(user_id=None, since=query.since, until=query.until, group_by=(Dimension.PROVIDER, Dimension.MODEL)),
        limit=100,
    )
    assert [row.group for row in by_model] == [("lm_studio", "a-model"), ("scripted", "scripted")]
