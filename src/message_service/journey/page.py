"""Reading a conversation in pages: from either end, before, after or around a message. Order is by `seq` alone."""

import asyncio
from dataclasses import dataclass

from message_service.ids import ConversationKey
from message_service.messages.reply import Reply
from message_service.store.database import Row
from message_service.store.pages import PageFilter, Pages, Slice


@dataclass(frozen=True, slots=True, kw_only=True)
class PageRequest:
    """At most one bound is given. `before` and `after` leave their message out, `around` puts it in the middle."""

    key: ConversationKey
    filter: PageFilter
    limit: int
    is_newest_first: bool
    before_seq: int | None = None
    after_seq: int | None = None
    around_seq: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """`next_seq` bounds the page that follows in reading order, `previous_seq` the one before; None where none is."""

    rows: list[Row]
    """Messages as stored: see `Slice`."""
    active_replies: list[Reply]
    has_more: bool
    next_seq: int | None
    previous_seq: int | None


async def read_page(request: PageRequest, *, pages: Pages) -> Page:
    """The messages nearest to the bound, in the order asked for."""
    if request.around_seq is not None:
        older, newer = await _around(request, request.around_seq, pages)
    elif request.after_seq is not None or (request.before_seq is None and not request.is_newest_first):
        newer = await _read(request, pages, start=_after(request.after_seq), is_ascending=True, limit=request.limit)
        older = Slice([], [], has_more=request.after_seq is not None)
    else:
        start = None if request.before_seq is None else request.before_seq - 1
        older = await _read(request, pages, start=start, is_ascending=False, limit=request.limit)
        newer = Slice([], [], has_more=request.before_seq is not None)
    return _page(request, older, newer)


async def _around(request: PageRequest, seq: int, pages: Pages) -> tuple[Slice, Slice]:
    half = request.limit // 2
    older, newer = await asyncio.gather(
        _read(request, pages, start=seq, is_ascending=False, limit=request.limit - half),
        _read(request, pages, start=seq + 1, is_ascending=True, limit=half),
    )
    return older, newer


async def _read(request: PageRequest, pages: Pages, *, start: int | None, is_ascending: bool, limit: int) -> Slice:
    return await pages.read(
        request.key,
        request.filter,
        direction="ascending" if is_ascending else "descending",
        from_seq=start,
        limit=limit,
    )


def _after(seq: int | None) -> int | None:
    return None if seq is None else seq + 1


def _page(request: PageRequest, older: Slice, newer: Slice) -> Page:
    """`older` comes newest first, `newer` oldest first; together they are consecutive."""
    ascending = [*reversed(older.rows), *newer.rows]
    oldest_edge = ascending[0]["seq"] if ascending and older.has_more else None
    newest_edge = ascending[-1]["seq"] if ascending and newer.has_more else None
    in_order = list(reversed(ascending)) if request.is_newest_first else ascending
    next_seq, previous_seq = (oldest_edge, newest_edge) if request.is_newest_first else (newest_edge, oldest_edge)
    return Page(
        rows=in_order,
        active_replies=older.active_replies or newer.active_replies,
        has_more=next_seq is not None,
        next_seq=next_seq,
        previous_seq=previous_seq,
    )
