"""A worker with all it needs, and its process."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import uvloop
from prometheus_client import start_http_server

from message_service.collector import tune_collector
from message_service.context.calibration import TokenRatios
from message_service.context.tokens import TokenCounter
from message_service.context.window import ContextSize
from message_service.errors import StartRefused
from message_service.ids import WorkerId, new_worker_id
from message_service.journey.answer import answer
from message_service.journey.recover import SafetyNet, find_lost, look_for_cancels, renew, repair
from message_service.journey.writing import WritingDesk
from message_service.live.channel import Channel
from message_service.logs import configure_logs, log
from message_service.messages.reply import WorkKind
from message_service.metered.router import MeteredRouter
from message_service.metered.store import MeteredClaims, MeteredFinishing, MeteredLedger, MeteredRepairs
from message_service.metrics import Metrics
from message_service.providers.routing.retry_budget import RetryBudget
from message_service.providers.routing.shared import SharedBreakers
from message_service.providers.routing.upkeep import keep_up
from message_service.relay import Relay
from message_service.settings import Settings
from message_service.stopping import stop_tasks
from message_service.store.path import PathReader
from message_service.usage.prices import PriceTable, load_prices
from message_service.wiring.routing import open_targets, routing_policy
from message_service.wiring.stores import Stores, open_stores
from message_service.work.held import HeldReplies
from message_service.work.probation import Probation, suspect_attempts
from message_service.work.queue import WorkQueue
from message_service.work.retry import RetryPolicy
from message_service.work.worker import Duties, Pace, Worker

_RENEWALS_PER_LEASE = 3


def run_worker(
    settings: Settings,
    kinds: tuple[WorkKind, ...],
    *,
    worker_id: WorkerId | None = None,
    replaces: Sequence[WorkerId] = (),
) -> None:
    """Work until SIGTERM or SIGINT, then drain. Raises `StartRefused` and `StoreUnavailable` before the start."""
    configure_logs(level=settings.log_level, format_=settings.log_format, role="worker")
    uvloop.run(_work(settings, kinds, worker_id, replaces))


async def _work(
    settings: Settings, kinds: tuple[WorkKind, ...], worker_id: WorkerId | None, replaces: Sequence[WorkerId]
) -> None:
    async with open_worker(settings, kinds, worker_id=worker_id, replaces=replaces) as worker:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, worker.stop)
        tune_collector()
        await worker.run()
    log.info("worker.closed")


@asynccontextmanager
async def open_worker(
    settings: Settings,
    kinds: Sequence[WorkKind],
    *,
    worker_id: WorkerId | None = None,
    replaces: Sequence[WorkerId] = (),
) -> AsyncIterator[Worker]:
    """A worker ready to run; `replaces` are known to be dead: it runs their replies again at once."""
    metrics = Metrics()
    counter = TokenCounter()
    prices = load_prices()
    worker_id = worker_id or new_worker_id()
    async with AsyncExitStack() as stack:
        stores = await stack.enter_async_context(open_stores(settings, role="worker", with_indexes=False))
        router = await stack.enter_async_context(
            _open_kept_up_router(settings, metrics, stores.relay, worker_id, prices)
        )
        claims = MeteredClaims(
            stores.database,
            metrics,
            lease_seconds=settings.lease_seconds,
            suspect_attempts=suspect_attempts(settings.max_attempts),
        )
        probation = Probation(settings.max_attempts)
        for dead in replaces:
            await claims.expire(dead)
        desk = _writing_desk(
            settings, stores, counter, metrics, worker_id=worker_id, claims=claims, router=router, prices=prices
        )
        net = SafetyNet(
            worker_id=worker_id,
            kinds=kinds,
            claims=claims,
            repairs=MeteredRepairs(stores.database, metrics),
            held=desk.held,
            probation=probation,
        )
        if settings.worker_metrics_port is not None:
            stack.callback(_serve_metrics(settings.worker_metrics_port, settings.host, metrics))
        yield Worker(
            worker_id,
            kinds,
            queue=desk.queue,
            held=desk.held,
            duties=Duties(
                answer=metrics.in_process(partial(answer, desk=desk, probation=probation)),
                find_lost=partial(find_lost, net=net),
                renew=partial(renew, net=net),
                look_for_cancels=partial(look_for_cancels, net=net),
                repair=partial(repair, net=net),
            ),
            pace=_pace(settings),
        )
        await desk.channel.drain()


def _serve_metrics(port: int, host: str, metrics: Metrics) -> Callable[[], None]:
    """Returns what stops it. Raises `StartRefused` where the port is taken. 0 takes any that is free."""
    try:
        server, _ = start_http_server(port, host, registry=metrics.registry)
    except OSError as fault:
        raise StartRefused(
            f"The worker's metrics cannot be served on port {port} ({fault.strerror}): is another worker using it? "
            "Give each worker of a machine its own MESSAGE_SERVICE_WORKER_METRICS_PORT, or 0 for any that is free."
        ) from fault
    log.info("worker.metrics_served", port=server.server_port)
    return server.shutdown


@asynccontextmanager
async def _open_kept_up_router(
    settings: Settings, metrics: Metrics, relay: Relay, worker_id: WorkerId, prices: PriceTable
) -> AsyncIterator[MeteredRouter]:
    """The enabled providers as one, whose breakers all workers share."""
    async with open_targets(settings, prices) as targets:
        shared = SharedBreakers(relay, targets)
        router = MeteredRouter(
            targets,
            routing_policy(settings),
            metrics=metrics,
            shared=shared,
            budget=RetryBudget(share=settings.provider_retry_share),
        )
        upkeep = asyncio.create_task(keep_up(router, shared, relay, worker_id))
        try:
            yield router
        finally:
            await stop_tasks([upkeep])


def _writing_desk(
    settings: Settings,
    stores: Stores,
    counter: TokenCounter,
    metrics: Metrics,
    *,
    worker_id: WorkerId,
    claims: MeteredClaims,
    router: MeteredRouter,
    prices: PriceTable,
) -> WritingDesk:
    return WritingDesk(
        worker_id=worker_id,
        claims=claims,
        path=PathReader(stores.database),
        counter=counter,
        prices=prices,
        context_size=ContextSize(settings.context_tokens, settings.output_reserve_tokens),
        ratios=TokenRatios(),
        router=router,
        channel=Channel(stores.relay),
        finishing=MeteredFinishing(stores.database, metrics),
        ledger=MeteredLedger(stores.database, metrics),
        queue=WorkQueue(stores.relay),
        held=HeldReplies(),
        retry=RetryPolicy(max_attempts=settings.max_attempts),
    )


def _pace(settings: Settings) -> Pace:
    return Pace(
        capacity=settings.max_in_process,
        sweep_seconds=settings.sweep_interval_seconds,
        repair_seconds=settings.repair_interval_seconds,
        renew_seconds=settings.lease_seconds / _RENEWALS_PER_LEASE,
        drain_seconds=settings.drain_seconds,
    )
