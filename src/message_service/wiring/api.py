"""Everything the HTTP API needs. It asks no provider, so neither their adapters nor aiohttp are loaded."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from message_service.context.tokens import TokenCounter
from message_service.journey.cancel import CancelDesk
from message_service.journey.revive import RevivalDesk
from message_service.journey.submit import FrontDesk
from message_service.journey.watch import WatchDesk
from message_service.limits.rate import RateLimiter
from message_service.live.channel import Channel
from message_service.live.follower import Follower
from message_service.messages.budget import Limits
from message_service.metered.store import MeteredAcceptance, MeteredFinishing, MeteredIdempotency
from message_service.metrics import Metrics
from message_service.settings import Settings
from message_service.store.accounts import Accounts
from message_service.store.backlog import Backlog
from message_service.store.dead_letters import DeadLetters
from message_service.store.messages import Messages
from message_service.store.pages import Pages
from message_service.store.replies import Replies
from message_service.store.usage_report import UsageReports
from message_service.wiring.budgets import estimator_of, limits_of
from message_service.wiring.stores import Stores, open_stores
from message_service.work.queue import WorkQueue


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiServices:
    """What the routes call."""

    settings: Settings
    stores: Stores
    desk: FrontDesk
    messages: Messages
    pages: Pages
    replies: Replies
    cancelling: CancelDesk
    revival: RevivalDesk
    queue: WorkQueue
    backlog: Backlog
    channel: Channel
    follower: Follower
    watching: WatchDesk
    usage: UsageReports
    accounts: Accounts
    limits: Limits
    """Of users who have none of their own."""
    metrics: Metrics


@asynccontextmanager
async def open_api(settings: Settings) -> AsyncIterator[ApiServices]:
    """Everything the HTTP API needs, closed in the reverse order."""
    metrics = Metrics()
    counter = TokenCounter()
    async with open_stores(settings, role="api", with_indexes=True) as stores:
        services = _services(settings, stores, counter, metrics)
        try:
            yield services
        finally:
            await services.follower.close()
            await services.desk.acceptance.drain()
            await services.backlog.close()
            await services.queue.drain()


def _services(settings: Settings, stores: Stores, counter: TokenCounter, metrics: Metrics) -> ApiServices:
    database, relay = stores.database, stores.relay
    backlog = Backlog(database, most_waiting=settings.max_queued)
    messages, replies = Messages(database), Replies(database, backlog)
    queue, channel = WorkQueue(relay), Channel(relay)
    follower = Follower(relay, channel)
    desk = _front_desk(
        settings, stores, counter, metrics, messages=messages, replies=replies, queue=queue, backlog=backlog
    )
    return ApiServices(
        settings=settings,
        stores=stores,
        desk=desk,
        messages=messages,
        pages=Pages(database),
        replies=replies,
        cancelling=CancelDesk(finishing=MeteredFinishing(database, metrics), channel=channel, queue=queue),
        revival=RevivalDesk(
            letters=DeadLetters(database),
            messages=messages,
            replies=replies,
            acceptance=desk.acceptance,
            queue=queue,
            reply_deadline_seconds=settings.reply_deadline_seconds,
        ),
        queue=queue,
        backlog=backlog,
        channel=channel,
        follower=follower,
        watching=WatchDesk(replies=replies, follower=follower),
        usage=UsageReports(database),
        accounts=Accounts(database),
        limits=limits_of(settings),
        metrics=metrics,
    )


def _front_desk(
    settings: Settings,
    stores: Stores,
    counter: TokenCounter,
    metrics: Metrics,
    *,
    messages: Messages,
    replies: Replies,
    queue: WorkQueue,
    backlog: Backlog,
) -> FrontDesk:
    idempotency = MeteredIdempotency(stores.database, metrics)
    return FrontDesk(
        idempotency=idempotency,
        rate=RateLimiter(stores.relay, limit=settings.rate_limit_per_minute),
        counter=counter,
        acceptance=MeteredAcceptance(stores.database, idempotency, metrics),
        messages=messages,
        replies=replies,
        queue=queue,
        backlog=backlog,
        reply_deadline_seconds=settings.reply_deadline_seconds,
        estimator=estimator_of(settings, counter, messages) if settings.are_budgets_kept else None,
    )
