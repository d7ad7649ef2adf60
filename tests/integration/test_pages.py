"""Turning pages: every message on one of them, from either end, before, after and around."""

from collections.abc import Sequence

import pytest

from message_service.journey.page import Page, PageRequest, read_page
from message_service.messages.message import Role
from message_service.store.database import Database
from message_service.store.messages import Messages, PageFilter
from tests.fixtures.samples import KEY
from tests.integration.reading import EVERYTHING, read, seqs, stored


async def all_pages(messages: Messages, *, limit: int, is_newest_first: bool, filter_: PageFilter) -> list[Page]:
    """From one end to the other, each page by the bound the one before gave."""
    pages: list[Page] = []
    bound: int | None = None
    while not pages or bound is not None:
        bounds = {} if bound is None else {"before_seq" if is_newest_first else "after_seq": bound}
        request = PageRequest(key=KEY, filter=filter_, limit=limit, is_newest_first=is_newest_first, **bounds)
        pages.append(await read_page(request, messages=messages))
        bound = pages[-1].next_seq
        assert pages[-1].has_more == (bound is not None)
    return pages


@pytest.mark.parametrize("is_newest_first", [True, False])
@pytest.mark.parametrize("limit", [1, 3, 7, 10, 100])
async def test_every_message_is_on_one_page_when_they_are_turned_in_order(
    database: Database, messages: Messages, limit: int, is_newest_first: bool
) -> None:
    await stored(database, *({"role": Role.USER if seq % 3 else Role.SYSTEM} for seq in range(10)))
    for filter_ in (EVERYTHING, PageFilter(role=Role.USER)):
        whole = seqs(await read(messages, filter_, limit=100))
        pages = await all_pages(messages, limit=limit, is_newest_first=is_newest_first, filter_=filter_)
        turned = [seq for page in pages for seq in seqs(page)]
        assert turned == (whole[::-1] if is_newest_first else whole)
        assert len(pages) == -(-len(whole) // limit)


@pytest.mark.parametrize("is_newest_first", [True, False])
async def test_page_before_is_reached_when_a_page_was_turned(
    database: Database, messages: Messages, is_newest_first: bool
) -> None:
    await stored(database, *({} for _ in range(10)))
    first, second, *_ = await all_pages(messages, limit=4, is_newest_first=is_newest_first, filter_=EVERYTHING)
    assert first.previous_seq is None
    assert second.previous_seq is not None
    bound = {"after_seq" if is_newest_first else "before_seq": second.previous_seq}
    request = PageRequest(key=KEY, filter=EVERYTHING, limit=4, is_newest_first=is_newest_first, **bound)
    assert seqs(await read_page(request, messages=messages)) == seqs(first)


@pytest.mark.parametrize(
    ("around", "limit", "expected"),
    [(5, 5, [3, 4, 5, 6, 7]), (5, 4, [4, 5, 6, 7]), (1, 4, [1, 2, 3]), (10, 4, [9, 10]), (5, 1, [5]), (5, 100, None)],
)
async def test_message_is_in_the_middle_when_a_page_is_around_it(
    database: Database, messages: Messages, around: int, limit: int, expected: list[int] | None
) -> None:
    await stored(database, *({} for _ in range(10)))
    for is_newest_first in (False, True):
        request = PageRequest(
            key=KEY, filter=EVERYTHING, limit=limit, is_newest_first=is_newest_first, around_seq=around
        )
        page = await read_page(request, messages=messages)
        wanted: Sequence[int] = expected or range(1, 11)
        assert seqs(page) == list(reversed(wanted) if is_newest_first else wanted)
