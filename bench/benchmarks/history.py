"""`history`: pages of 50, newest and oldest of conversations of 10,000 messages, alone and among a million."""

import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from urllib.parse import urlencode

from pydantic import BaseModel

from bench.bulk import FullConversation, fill_floor, fill_ours
from bench.figures import Figure, at_least_times_peer, at_most_times_peer
from bench.load import Measured, Plan
from bench.scope import Scope
from bench.stack import Served, Stores, measure, open_stores, serve_floor, serve_ours
from bench.traffic import Traffic
from message_service.messages.conversation import MAX_MESSAGES

_PAGE = 50
_DEPTH = MAX_MESSAGES - _PAGE
_CONNECTIONS = 16


class _PagedMessage(BaseModel):
    seq: int


class _Page(BaseModel):
    data: list[_PagedMessage]
    next_cursor: str | None = None


@dataclass(frozen=True, slots=True)
class _Collection:
    """One collection size, served by both sides, with the pages to ask each for."""

    label: str
    ours: Served
    floor: Served
    our_pages: dict[bool, Traffic]
    """By whether the page is the oldest one."""
    floor_pages: dict[bool, Traffic]


@dataclass(slots=True)
class _Found:
    ours: list[Measured] = field(default_factory=list)
    floor: list[Measured] = field(default_factory=list)
    ours_alone: list[Measured] = field(default_factory=list)
    """One connection: what depth and size cost without any waiting in line."""


def history(scope: Scope) -> list[Figure]:
    with open_stores() as stores, ExitStack() as servers:
        collections = [
            _open(stores, servers, "1 conversation", 1, scope),
            _open(
                stores,
                servers,
                f"{scope.collection_messages:,} messages",
                scope.collection_messages // MAX_MESSAGES,
                scope,
            ),
        ]
        found = {(collection.label, is_deep): _Found() for collection in collections for is_deep in (False, True)}
        for round_number in range(scope.rounds):
            for collection in collections:
                for is_deep in (False, True):
                    _measure(collection, is_deep, found[collection.label, is_deep], stores, scope)
            scope.say(f"history, round {round_number + 1} done")
    return _figures(found)


def _open(stores: Stores, servers: ExitStack, label: str, conversations: int, scope: Scope) -> _Collection:
    ours = servers.enter_context(serve_ours(stores, database=f"ours_{conversations}"))
    floor = servers.enter_context(serve_floor(stores, database=f"floor_{conversations}"))
    scope.say(f"history: storing {label} twice")
    our_conversations = fill_ours(stores.mongodb_url, f"ours_{conversations}", conversations)
    floor_conversations = fill_floor(stores.mongodb_url, f"floor_{conversations}", conversations)
    return _Collection(
        label,
        ours,
        floor,
        {
            False: _pages(our_conversations, [{} for _ in our_conversations]),
            True: _pages(our_conversations, [{"before": _cursor(ours, each)} for each in our_conversations]),
        },
        {
            False: _pages(floor_conversations, [{} for _ in floor_conversations]),
            True: _pages(floor_conversations, [{"before": each.second_page_id} for each in floor_conversations]),
        },
    )


def _pages(conversations: Sequence[FullConversation], positions: Sequence[dict[str, str]]) -> Traffic:
    queries = [
        urlencode({"conversation_id": conversation.conversation_id, "limit": _PAGE} | position)
        for conversation, position in zip(conversations, positions, strict=True)
    ]
    return Traffic(
        kind="pages",
        run="history",
        expected_status=200,
        paths=tuple(f"/v1/messages?{query}" for query in queries),
        users=tuple(conversation.user for conversation in conversations),
    )


def _cursor(ours: Served, conversation: FullConversation) -> str:
    """What a client that pages back holds when it asks for the oldest page. That page is checked once."""
    cursor = _ask(ours, conversation, before=conversation.third_page_id).next_cursor
    oldest = sorted(message.seq for message in _ask(ours, conversation, before=cursor or "").data)
    if oldest != list(range(1, _PAGE + 1)):
        raise RuntimeError(f"the oldest page holds {oldest}")
    return cursor or ""


def _ask(ours: Served, conversation: FullConversation, *, before: str) -> _Page:
    query = urlencode({"conversation_id": conversation.conversation_id, "limit": _PAGE, "before": before})
    request = urllib.request.Request(ours.url(f"/v1/messages?{query}"), headers={"X-User-Id": conversation.user})
    with urllib.request.urlopen(request, timeout=10) as response:
        return _Page.model_validate_json(response.read())


def _measure(collection: _Collection, is_deep: bool, found: _Found, stores: Stores, scope: Scope) -> None:
    ours, floor = collection.our_pages[is_deep], collection.floor_pages[is_deep]
    found.ours.append(_run(collection.ours, ours, _CONNECTIONS, stores, scope))
    found.floor.append(_run(collection.floor, floor, _CONNECTIONS, stores, scope))
    found.ours_alone.append(_run(collection.ours, ours, 1, stores, scope))


def _run(served: Served, traffic: Traffic, connections: int, stores: Stores, scope: Scope) -> Measured:
    return measure(
        Plan(
            port=served.port,
            connections=connections,
            warm_up_seconds=scope.warm_up_seconds,
            measure_seconds=scope.measure_seconds,
            traffic=traffic,
            server_pids=served.pids,
            store_pids=stores.pids,
        )
    )


def _figures(found: dict[tuple[str, bool], _Found]) -> list[Figure]:
    figures = []
    for (label, is_deep), each in found.items():
        where = f"{f'depth {_DEPTH:,}' if is_deep else 'newest'}, {label}"
        figures += [
            _figure(f"{where}: pages", "pages/s", each, "requests_per_second", is_judged=True),
            _figure(f"{where}: API CPU per page", "us", each, "server_cpu_us"),
        ]
    (small, large) = dict.fromkeys(label for label, _ in found)
    figures += [
        _change(f"depth {_DEPTH:,}, {small}: p50 alone", found[small, True], "newest", found[small, False]),
        _change(f"depth {_DEPTH:,}, {large}: p50 alone", found[large, True], "newest", found[large, False]),
        _change(f"newest, {large}: p50 alone", found[large, False], small, found[small, False]),
        _change(f"depth {_DEPTH:,}, {large}: p50 alone", found[large, True], small, found[small, True]),
    ]
    return figures


def _figure(name: str, unit: str, found: _Found, measured: str, *, is_judged: bool = False) -> Figure:
    return Figure(
        benchmark="history",
        name=name,
        unit=unit,
        ours=tuple(getattr(each, measured) for each in found.ours),
        peer_name="floor",
        peer=tuple(getattr(each, measured) for each in found.floor),
        target=at_least_times_peer(1.5) if is_judged else None,
    )


def _change(name: str, changed: _Found, reference_name: str, reference: _Found) -> Figure:
    return Figure(
        benchmark="history",
        name=name,
        unit="ms",
        ours=tuple(each.p50_ms for each in changed.ours_alone),
        peer_name=f"ours, {reference_name}:",
        peer=tuple(each.p50_ms for each in reference.ours_alone),
        target=at_most_times_peer(1.2),
    )
