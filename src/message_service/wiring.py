"""Joins settings to real parts, once. The API, the worker and the command line all start from here."""

import asyncio
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

import uvloop
from prometheus_client import start_http_server
from pydantic import SecretStr

from message_service.collector import tune_collector
from message_service.context.calibration import TokenRatios
from message_service.context.tokens import TokenCounter
from message_service.context.window import Budget
from message_service.errors import InvalidSettings
from message_service.ids import WorkerId, new_worker_id
from message_service.journey.answer import WritingDesk, answer
from message_service.journey.cancel import CancelDesk
from message_service.journey.estimate import Estimator
from message_service.journey.recover import SafetyNet, find_lost, look_for_cancels, renew, repair
from message_service.journey.revive import RevivalDesk
from message_service.journey.submit import FrontDesk
from message_service.journey.watch import Window
from message_service.limits.rate import RateLimiter
from message_service.live.channel import Channel
from message_service.live.follower import Follower
from message_service.logs import configure_logs, log
from message_service.messages.budget import Limits
from message_service.messages.reply import WorkKind
from message_service.metrics import (
    MeteredAcceptance,
    MeteredClaims,
    MeteredFinishing,
    MeteredIdempotency,
    MeteredLedger,
    MeteredRepairs,
    MeteredRouter,
    Metrics,
)
from message_service.providers.provider import Provider
from message_service.providers.router import RoutingPolicy
from message_service.providers.routing.breaker import Breaker, BreakerPolicy
from message_service.providers.routing.failover import FailoverPolicy
from message_service.providers.routing.retry_budget import RetryBudget
from message_service.providers.routing.shared import SharedBreakers
from message_service.providers.routing.target import Price, Target, family_of
from message_service.providers.routing.upkeep import keep_up
from message_service.relay import Relay, open_relay
from message_service.settings import ProviderName, Settings
from message_service.store.accounts import Accounts
from message_service.store.backlog import Backlog
from message_service.store.database import Database, open_database
from message_service.store.dead_letters import DeadLetters
from message_service.store.messages import Messages
from message_service.store.pages import Pages
from message_service.store.path import PathReader
from message_service.store.replies import Replies
from message_service.store.usage_report import UsageReports
from message_service.usage.prices import load_prices
from message_service.work.held import HeldReplies
from message_service.work.queue import WorkQueue
from message_service.work.retry import RetryPolicy
from message_service.work.worker import Duties, Pace, Worker

if TYPE_CHECKING:
    from aiohttp import ClientSession

_RENEWALS_PER_LEASE = 3
_LAST_TIER = 9
_FREE = Price(0, 0)
_LOCAL_LOOK_SECONDS = 10.0
_CLOUD_LOOK_SECONDS = 60.0
_Number = TypeVar("_Number", int, float)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """The two stores every process needs."""

    database: Database
    relay: Relay


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
    window: Window
    usage: UsageReports
    accounts: Accounts
    limits: Limits
    """Of users who have none of their own."""
    metrics: Metrics


@asynccontextmanager
async def open_stores(settings: Settings, *, role: str, with_indexes: bool) -> AsyncIterator[Stores]:
    """Raises `InvalidSettings` when a URL is missing or unusable, `StoreUnavailable` when MongoDB does not answer."""
    if settings.mongodb_url is None or settings.redis_url is None:
        raise InvalidSettings(
            "MESSAGE_SERVICE_MONGODB_URL and MESSAGE_SERVICE_REDIS_URL must be set; "
            "`message-service dev` brings servers of its own."
        )
    async with AsyncExitStack() as stack:
        relay = await stack.enter_async_context(open_relay(settings.redis_url.get_secret_value()))
        database = await stack.enter_async_context(
            open_database(
                settings.mongodb_url.get_secret_value(),
                settings.mongodb_database,
                role=role,
                with_indexes=with_indexes,
            )
        )
        yield Stores(database=database, relay=relay)


@asynccontextmanager
async def open_api(settings: Settings) -> AsyncIterator[ApiServices]:
    """Everything the HTTP API needs, closed in the reverse order."""
    metrics = Metrics()
    counter = TokenCounter()
    async with open_stores(settings, role="api", with_indexes=True) as stores:
        database, relay = stores.database, stores.relay
        idempotency = MeteredIdempotency(database, metrics)
        acceptance = MeteredAcceptance(database, idempotency, metrics)
        finishing = MeteredFinishing(database, metrics)
        backlog = Backlog(database, most_waiting=settings.max_queued)
        messages, replies = Messages(database), Replies(database, backlog)
        queue, channel = WorkQueue(relay), Channel(relay)
        follower = Follower(relay, channel)
        desk = FrontDesk(
            idempotency=idempotency,
            rate=RateLimiter(relay, limit=settings.rate_limit_per_minute),
            counter=counter,
            acceptance=acceptance,
            messages=messages,
            queue=queue,
            backlog=backlog,
            reply_deadline_seconds=settings.reply_deadline_seconds,
            estimator=_estimator(settings, counter, messages) if settings.are_budgets_kept else None,
        )
        try:
            yield ApiServices(
                settings=settings,
                stores=stores,
                desk=desk,
                messages=messages,
                pages=Pages(database),
                replies=replies,
                cancelling=CancelDesk(finishing=finishing, channel=channel, queue=queue),
                revival=RevivalDesk(
                    letters=DeadLetters(database),
                    messages=messages,
                    replies=replies,
                    acceptance=acceptance,
                    queue=queue,
                    reply_deadline_seconds=settings.reply_deadline_seconds,
                ),
                queue=queue,
                backlog=backlog,
                channel=channel,
                follower=follower,
                window=Window(replies=replies, follower=follower),
                usage=UsageReports(database),
                accounts=Accounts(database),
                limits=_limits(settings),
                metrics=metrics,
            )
        finally:
            await follower.close()
            await acceptance.drain()
            await backlog.close()
            await queue.drain()


def _limits(settings: Settings) -> Limits:
    return Limits(
        tokens_per_day=settings.budget_tokens_per_day,
        tokens_per_month=settings.budget_tokens_per_month,
        cost_nano_usd_per_day=_nano(settings.budget_usd_per_day),
        cost_nano_usd_per_month=_nano(settings.budget_usd_per_month),
    )


def _nano(dollars: Decimal | None) -> int | None:
    return None if dollars is None else int(dollars * 1_000_000_000)


def _estimator(settings: Settings, counter: TokenCounter, messages: Messages) -> Estimator:
    return Estimator(
        limits=_limits(settings),
        prices=load_prices(),
        models={name: getattr(settings, f"{name}_model", None) for name in settings.enabled_providers},
        window=Budget(settings.context_tokens, settings.output_reserve_tokens),
        counter=counter,
        messages=messages,
    )


@asynccontextmanager
async def open_worker(
    settings: Settings,
    kinds: Sequence[WorkKind],
    *,
    worker_id: WorkerId | None = None,
    replaces: WorkerId | None = None,
) -> AsyncIterator[Worker]:
    """A worker ready to run; `replaces` is one known to be dead, whose replies it runs again at once."""
    metrics = Metrics()
    counter = TokenCounter()
    worker_id = worker_id or new_worker_id()
    async with AsyncExitStack() as stack:
        stores = await stack.enter_async_context(open_stores(settings, role="worker", with_indexes=False))
        targets = await stack.enter_async_context(open_targets(settings))
        shared = SharedBreakers(stores.relay, targets)
        router = MeteredRouter(
            targets,
            _routing_policy(settings),
            metrics=metrics,
            shared=shared,
            budget=RetryBudget(share=settings.provider_retry_share),
        )
        upkeep = asyncio.create_task(keep_up(router, shared, stores.relay, worker_id))
        stack.push_async_callback(_ended, upkeep)
        claims = MeteredClaims(stores.database, metrics, lease_seconds=settings.lease_seconds)
        if replaces is not None:
            await claims.expire(replaces)
        finishing = MeteredFinishing(stores.database, metrics)
        queue, channel, held = WorkQueue(stores.relay), Channel(stores.relay), HeldReplies()
        desk = WritingDesk(
            worker_id=worker_id,
            claims=claims,
            path=PathReader(stores.database),
            counter=counter,
            prices=load_prices(),
            budget=Budget(settings.context_tokens, settings.output_reserve_tokens),
            ratios=TokenRatios(),
            router=router,
            channel=channel,
            finishing=finishing,
            ledger=MeteredLedger(stores.database, metrics),
            queue=queue,
            held=held,
            retry=RetryPolicy(max_attempts=settings.max_attempts),
        )
        net = SafetyNet(
            worker_id=worker_id, kinds=kinds, claims=claims, repairs=MeteredRepairs(stores.database, metrics), held=held
        )
        if settings.worker_metrics_port is not None:
            server, _ = start_http_server(settings.worker_metrics_port, settings.host, registry=metrics.registry)
            stack.callback(server.shutdown)
        yield Worker(
            worker_id,
            kinds,
            queue=queue,
            held=held,
            duties=Duties(
                answer=metrics.in_process(partial(answer, desk=desk)),
                find_lost=partial(find_lost, net=net),
                renew=partial(renew, net=net),
                look_for_cancels=partial(look_for_cancels, net=net),
                repair=partial(repair, net=net),
            ),
            pace=Pace(
                capacity=settings.max_in_process,
                sweep_seconds=settings.sweep_interval_seconds,
                repair_seconds=settings.repair_interval_seconds,
                renew_seconds=settings.lease_seconds / _RENEWALS_PER_LEASE,
                drain_seconds=settings.drain_seconds,
            ),
        )
        await channel.drain()


@asynccontextmanager
async def open_router(settings: Settings, metrics: Metrics) -> AsyncIterator[MeteredRouter]:
    """The enabled providers as one, for a process that is no worker: it shares no breakers."""
    async with open_targets(settings) as targets:
        yield MeteredRouter(targets, _routing_policy(settings), metrics=metrics)


@asynccontextmanager
async def open_targets(settings: Settings) -> AsyncIterator[tuple[Target, ...]]:
    """The enabled providers, in order of preference, on one HTTP client; closed at the end."""
    # Here, because the API starts from this module too and needs neither their code nor aiohttp's.
    from message_service.providers.upstream import provider_session

    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(provider_session())
        targets = [target for name in settings.enabled_providers for target in _targets(name, settings, session)]
        for target in targets:
            stack.push_async_callback(target.provider.close)
        yield tuple(targets)


def _targets(name: ProviderName, settings: Settings, session: "ClientSession") -> list[Target]:
    from message_service.providers import anthropic, openai

    providers = _providers(name, settings, session)
    match name:
        case "lm_studio":
            places, key = settings.lm_studio_url, settings.lm_studio_api_key
        case "openai":
            places, key = (settings.openai_base_url or openai.URL,), settings.openai_api_key
        case "anthropic":
            places, key = (settings.anthropic_base_url or anthropic.URL,), settings.anthropic_api_key
        case "scripted":
            # Its failures are asked for by messages, and nobody's message may close it to others.
            usual_tier = 1 if settings.enabled_providers[0] == name else _LAST_TIER
            tier = settings.provider_tiers.get(name, usual_tier)
            return [Target(provider, tier=tier, price=_FREE) for provider in providers]
    price = _FREE if name == "lm_studio" else None
    return [_target(settings, provider, url, key, price) for provider, url in zip(providers, places, strict=True)]


def _target(settings: Settings, provider: Provider, url: str, api_key: SecretStr | None, price: Price | None) -> Target:
    """A provider that can fail, with what the settings say of it by its name or its family's."""
    access = [url, api_key.get_secret_value() if api_key else ""]
    weight = _of(provider, settings.provider_weights)
    return Target(
        provider,
        Breaker(
            BreakerPolicy(failures_in_a_row=settings.breaker_failures, first_open_seconds=settings.breaker_open_seconds)
        ),
        host=urlsplit(url).netloc.rpartition("@")[2],
        # With another address or key it is another target: what went wrong with the old one is forgotten.
        identity=f"{provider.name}:{blake2b(repr(access).encode(), digest_size=6).hexdigest()}",
        tier=_of(provider, settings.provider_tiers) or 1,
        weight=1 if weight is None else weight,
        most_in_flight=_of(provider, settings.provider_concurrency),
        price=price,
        look_seconds=_LOCAL_LOOK_SECONDS if price is _FREE else _CLOUD_LOOK_SECONDS,
    )


def _of(provider: Provider, numbers: dict[str, _Number]) -> _Number | None:
    """What is set for an instance, else for its family."""
    return numbers.get(provider.name, numbers.get(family_of(provider.name)))


def _routing_policy(settings: Settings) -> RoutingPolicy:
    return RoutingPolicy(
        strategy=settings.provider_strategy, failover=FailoverPolicy(midstream=settings.midstream_policy)
    )


def _providers(name: ProviderName, settings: Settings, session: "ClientSession") -> Sequence[Provider]:
    from message_service.providers import anthropic, lm_studio, openai, scripted
    from message_service.providers.reply_stream import Patience

    patience = Patience(settings.first_token_timeout_seconds, settings.token_timeout_seconds)
    match name:
        case "lm_studio":
            return lm_studio.lm_studio_providers(
                session,
                settings.lm_studio_url,
                settings.lm_studio_api_key,
                settings.lm_studio_model,
                settings.first_token_timeout_seconds,
                settings.token_timeout_seconds,
                window_tokens=settings.context_tokens,
            )
        case "openai":
            openai_provider = openai.OpenAiProvider(
                session,
                settings.openai_base_url or openai.URL,
                settings.openai_api_key,
                settings.openai_model,
                patience,
                dialect=settings.openai_dialect,
            )
            return (openai_provider,)
        case "anthropic":
            anthropic_provider = anthropic.AnthropicProvider(
                session,
                settings.anthropic_base_url or anthropic.URL,
                settings.anthropic_api_key,
                settings.anthropic_model,
                patience,
                version=settings.anthropic_version,
            )
            return (anthropic_provider,)
        case "scripted":
            return (scripted.ScriptedProvider(settings.scripted_tokens_per_second),)


def run_worker(
    settings: Settings,
    kinds: tuple[WorkKind, ...],
    *,
    worker_id: WorkerId | None = None,
    replaces: WorkerId | None = None,
) -> None:
    """Work until SIGTERM or SIGINT, then drain. Raises `StartRefused` and `StoreUnavailable` before the start."""
    configure_logs(level=settings.log_level, format_=settings.log_format, role="worker")
    uvloop.run(_work(settings, kinds, worker_id, replaces))


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def _work(
    settings: Settings, kinds: tuple[WorkKind, ...], worker_id: WorkerId | None, replaces: WorkerId | None
) -> None:
    async with open_worker(settings, kinds, worker_id=worker_id, replaces=replaces) as worker:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, worker.stop)
        tune_collector()
        await worker.run()
    log.info("worker.closed")
