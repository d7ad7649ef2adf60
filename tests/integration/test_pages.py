"""Turning pages: every message on one of them, from either end, before, after and around."""

from collections.abc import Sequence

import pytest

from message_service.journey.page import Page, PageRequest, read_page
from message_service.messages.message import Role
from message_service.store.database import Database
from message_service.store.pages import PageFilter, Pages
from tests.fixtures.samples import KEY
from tests.integration.reading import EVERYTHING, read, seqs, stored


async def all_pages(pages: Pages, *, limit: int, is_newest_first: bool, filter_: PageFilter) -> list[Page]:
    """From one end to the other, each page by the bound the one before gave."""
    turned: list[Page] = []
    bound: int | None = None
    while not turned or bound is not None:
        bounds = {} if bound is None else {"before_seq" if is_newest_first else "after_seq": bound}
        request = PageRequest(key=KEY, filter=filter_, limit=limit, is_newest_first=is_newest_first, **bounds)
        turned.append(await read_page(request, pages=pages))
        bound = turned[-1].next_seq
        assert turned[-1].has_more == (bound is not None)
    return turned


@pytest.mark.parametrize("is_newest_first", [True, False])
@pytest.mark.parametrize("limit", [1, 3, 7, 10, 100])
async def test_every_message_is_on_one_page_when_they_are_turned_in_order(
    database: Database, pages: Pages, limit: int, is_newest_first: bool
) -> None:
    await stored(database, *({"role": Role.USER if seq % 3 else Role.SYSTEM} for seq in range(10)))
    for filter_ in (EVERYTHING, PageFilter(role=Role.USER)):
        whole = seqs(await read(pages, filter_, limit=100))
        turned = await all_pages(pages, limit=limit, is_newest_first=is_newest_first, filter_=filter_)
        found = [seq for page in turned for seq in seqs(page)]
        assert found == (whole[::-1] if is_newest_first else whole)
        assert len(turned) == -(-len(whole) // limit)


@pytest.mark.parametrize("is_newest_first", [True, False])
async def test_page_before_is_reached_when_a_page_was_turned(
    database: Database, pages: Pages, is_newest_first: bool
) -> None:
    await stored(database, *({} for _ in range(10)))
    first, second, *_ = await all_pages(pages, limit=4, is_newest_first=is_newest_first, filter_=EVERYTHING)
    assert first.previous_seq is None
    assert second.previous_seq is not None
    bound = {"after_seq" if is_newest_first else "before_seq": second.previous_seq}
    request = PageRequest(key=KEY, filter=EVERYTHING, limit=4, is_newest_first=is_newest_first, **bound)
    assert seqs(await read_page(request, pages=pages)) == seqs(first)


@pytest.mark.parametrize(
    ("around", "limit", "expected"),
    [(5, 5, [3, 4, 5, 6, 7]), (5, 4, [4, 5, 6, 7]), (1, 4, [1, 2, 3]), (10, 4, [9, 10]), (5, 1, [5]), (5, 100, None)],
)
async def test_message_is_in_the_middle_when_a_page_is_around_it(
    database: Database, pages: Pages, around: int, limit: int, expected: list[int] | None
) -> None:
    await stored(database, *({} for _ in range(10)))
    for is_newest_first in (False, True):
        request = PageRequest(
            key=KEY, filter=EVERYTHING, limit=limit, is_newest_first=is_newest_first, around_seq=around
        )
        page = await read_page(request, pages=pages)
        wanted: Sequence[int] = expected or range(1, 11)
        assert seqs(page) == list(reversed(wanted) if is_newest_first else wanted)
