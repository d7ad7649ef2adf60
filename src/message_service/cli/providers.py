"""`message-service providers`: what is configured, whether it answers, and what workers leave alone."""

import asyncio
from contextlib import aclosing

from message_service.cli.server_urls import with_server_urls
from message_service.errors import MessageServiceError, RelayUnavailable
from message_service.logs import configure_logs
from message_service.messages.message import Role
from message_service.metrics import Metrics
from message_service.providers.provider import Prompt, Started, TextDelta, Turn
from message_service.providers.router import Router, is_of_family
from message_service.providers.routing.board import TargetReport, read_board, report, together
from message_service.providers.routing.target import Target
from message_service.relay import open_relay
from message_service.settings import Settings
from message_service.usage.prices import load_prices
from message_service.wiring.routing import open_router, open_targets

_TEST_PROMPT = "Answer with the one word: ready."
_TEST_OUTPUT_TOKENS = 64
_LONGEST_SHOWN_CHARACTERS = 200


def list_providers(settings: Settings) -> int:
    """Look at each provider from here. 0 when at least one could answer now."""
    return asyncio.run(_list(settings))


def ask_provider(settings: Settings, name: str | None) -> int:
    """Ask one prompt of each provider, or of one. 0 when all answered."""
    configure_logs(level=settings.log_level, format_=settings.log_format, role="cli")
    return asyncio.run(_test(settings, name))


def show_breakers(settings: Settings) -> int:
    """What workers tell of their providers. 0 when a worker told something."""
    return asyncio.run(_show(settings))


async def _list(settings: Settings) -> int:
    async with open_router(settings, Metrics()) as router:
        await router.look()
        at = asyncio.get_running_loop().time()
        reports = [report(target, at) for target in router.targets]
    for one in reports:
        print(f"{_label(one)}  tier {one.tier}  {'ok' if _can_answer(one) else 'FAIL'}  {one.detail}")
    return 0 if any(_can_answer(one) for one in reports) else 1


async def _test(settings: Settings, name: str | None) -> int:
    prompt = Prompt(
        instructions=None,
        turns=(Turn(Role.USER, _TEST_PROMPT),),
        prompt_tokens=16,
        max_output_tokens=_TEST_OUTPUT_TOKENS,
    )
    async with open_targets(settings, load_prices()) as targets:
        asked = [target for target in targets if name is None or is_of_family(target.name, name)]
        if not asked:
            print(f"There is no provider {name!r}; there are {', '.join(target.name for target in targets)}.")
        answers = [await _answers(target, prompt) for target in asked]
    return 0 if answers and all(answers) else 1


async def _answers(target: Target, prompt: Prompt) -> bool:
    """Ask this one alone, whoever else could stand in for it."""
    began_at = asyncio.get_running_loop().time()
    model, text = "", ""
    try:
        async with aclosing(Router([target]).stream(prompt)) as events:
            async for event in events:
                if isinstance(event, Started):
                    model = event.model
                elif isinstance(event, TextDelta):
                    text += event.text
    except MessageServiceError as fault:
        print(f"{target.name}  FAIL  {fault.detail}")
        return False
    seconds = asyncio.get_running_loop().time() - began_at
    print(f"{target.name}  ok  {model}, {seconds:.2f} s: {' '.join(text.split())[:_LONGEST_SHOWN_CHARACTERS]}")
    return True


async def _show(settings: Settings) -> int:
    redis_url = with_server_urls(settings).redis_url
    if redis_url is None:
        print("No Redis is configured, and no `message-service dev` runs here.")
        return 1
    async with open_relay(redis_url.get_secret_value()) as relay:
        try:
            told = await read_board(relay)
        except RelayUnavailable as fault:
            print(f"Redis is away: {fault.detail}")
            return 1
    if not told:
        print("No worker is running, so nobody knows how the providers do.")
        return 1
    for one in together(told):
        left_alone = f"  {one.reason}, asked again in {one.retry_after_seconds} s" if one.reason else ""
        pace = "" if one.first_token_seconds is None else f"  first token {one.first_token_seconds:.2f} s"
        print(f"{_label(one)}  {one.breaker}  {one.in_flight} in flight{pace}{left_alone}")
    return 0


def _label(one: TargetReport) -> str:
    return f"{one.provider} ({one.host})" if one.host else one.provider


def _can_answer(one: TargetReport) -> bool:
    return bool(one.is_reachable and one.models)
