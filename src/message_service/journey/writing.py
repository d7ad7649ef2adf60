"""One attempt at the text of a reply: context window -> provider stream -> live channel. How it ends is `answer`'s."""

import asyncio
from dataclasses import dataclass, replace

from message_service.clock import now
from message_service.context.calibration import TokenRatios, Trim, trimmed
from message_service.context.tokens import TokenCounter
from message_service.context.window import ContextSize
from message_service.errors import ClaimLost, ContextTooLong
from message_service.ids import WorkerId
from message_service.journey.compose import compose
from message_service.journey.draft import Draft
from message_service.live.channel import Channel
from message_service.live.event import Began
from message_service.logs import log
from message_service.messages.message import MAX_CONTENT_CHARACTERS
from message_service.messages.reply import FinishReason, Reply, WorkKind
from message_service.providers.provider import Finished, Prompt, Started, TextDelta
from message_service.providers.router import Router
from message_service.providers.routing.run import Restarted, Route, Switched
from message_service.safety.sanitise import PieceSanitiser
from message_service.store.claim import Claims
from message_service.store.finish import Finishing
from message_service.store.ledger import Ledger
from message_service.store.path import PathReader
from message_service.usage.prices import PriceTable
from message_service.work.held import HeldReplies
from message_service.work.queue import WorkQueue
from message_service.work.retry import RetryPolicy

_PRECEDENCE = {kind: place for place, kind in enumerate(WorkKind)}


@dataclass(frozen=True, slots=True, kw_only=True)
class WritingDesk:
    """What answering needs."""

    worker_id: WorkerId
    claims: Claims
    path: PathReader
    counter: TokenCounter
    prices: PriceTable
    context_size: ContextSize
    ratios: TokenRatios
    router: Router
    channel: Channel
    finishing: Finishing
    ledger: Ledger
    queue: WorkQueue
    held: HeldReplies
    retry: RetryPolicy


async def write(claimed: Reply, draft: Draft, desk: WritingDesk) -> None:
    """Stream the provider's text to the watchers. Raises `ProviderError`, `ClaimLost`, `MessageNotFound`.

    A prompt that is too long is trimmed once more by what the provider told. Nobody sees it, but where the
    provider told it in its stream: watchers then see that the text, of which there was none, begins again.
    """
    trim = Trim(desk.context_size, desk.ratios.of(claimed.asked.model))
    route = _route(claimed, draft, desk)
    prompt = await compose(claimed, path=desk.path, counter=desk.counter, trim=trim)
    try:
        await _stream(claimed, prompt, route, draft, desk)
    except ContextTooLong as told:
        if draft.writer.text:
            raise
        if draft.provider is not None:
            # It was shown that a provider took the prompt, and positions must rise when one takes the next.
            draft.begin_again(told.code)
        trim = trimmed(
            trim,
            counted_tokens=prompt.prompt_tokens / trim.ratio,
            told_prompt_tokens=told.prompt_tokens,
            told_context_tokens=told.context_tokens,
        )
        prompt = await compose(claimed, path=desk.path, counter=desk.counter, trim=trim)
        await _stream(claimed, prompt, replace(route, is_last_trim=True), draft, desk)
    usage = draft.usage
    if draft.model is not None and usage is not None and not usage.is_estimated:
        # Looked up by the name that is asked for, which may be answered by a dated one.
        for model in dict.fromkeys((claimed.asked.model or draft.model, draft.model)):
            desk.ratios.learn(
                model,
                counted_tokens=prompt.prompt_tokens / trim.ratio,
                reported_tokens=usage.input_tokens,
            )


def _route(claimed: Reply, draft: Draft, desk: WritingDesk) -> Route:
    return Route(
        provider=claimed.asked.provider,
        strategy=claimed.asked.strategy,
        deadline=asyncio.get_running_loop().time() + remaining_seconds(claimed),
        # Ids of replies sort by the time they were asked for.
        rank=(_PRECEDENCE[claimed.kind], claimed.id),
        attempts=draft.attempts,
        running=draft.running,
        count_tokens=desk.counter.count,
    )


async def _stream(claimed: Reply, prompt: Prompt, route: Route, draft: Draft, desk: WritingDesk) -> None:
    clean = PieceSanitiser()
    room = MAX_CONTENT_CHARACTERS
    stream = desk.router.stream(prompt, route)
    try:
        async for event in stream:
            if draft.writer.is_refused:
                raise ClaimLost
            match event:
                case TextDelta(text):
                    piece = clean.feed(text)[:room]
                    room -= len(piece)
                    draft.writer.write(piece)
                    if room == 0:
                        draft.finish_reason = FinishReason.LENGTH
                        return
                case Started(provider, model, warnings):
                    if warnings:
                        log.info("reply.asked_for_more", reply=claimed.id, provider=provider, warnings=warnings)
                    draft.began(_began(provider, model, claimed, route))
                case Switched(from_provider, to_provider, reason):
                    draft.writer.switched(from_provider, to_provider, reason)
                case Restarted(reason):
                    draft.begin_again(reason)
                    clean, room = PieceSanitiser(), MAX_CONTENT_CHARACTERS
                case Finished(reason):
                    draft.finish_reason = reason
    finally:
        # At once, not when the garbage is collected: this closes the provider's connection.
        await stream.aclose()


def _began(provider: str, model: str, claimed: Reply, route: Route) -> Began:
    so_far = route.running[-1].attempt()
    input_tokens = so_far.usage.input_tokens if so_far.usage is not None else 0
    return Began(provider, model, claimed.attempts, so_far.host, so_far.started_at, input_tokens)


def remaining_seconds(claimed: Reply) -> float:
    """Until its deadline; negative once that is over."""
    return (claimed.deadline - now()).total_seconds()
