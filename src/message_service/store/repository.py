"""Plain reading of one collection, for whatever needs no transaction and no special speed."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from pymongo.asynchronous.collection import AsyncCollection

from message_service.store.database import Row, reaching_the_store

Entity = TypeVar("Entity")


class Repository(Generic[Entity]):
    """`from_row` turns a stored document into what the rest of the service speaks of."""

    def __init__(self, collection: AsyncCollection[Row], from_row: Callable[[Row], Entity]) -> None:
        self._collection = collection
        self._from_row = from_row

    async def get(self, id_: str, **also: Any) -> Entity | None:
        """The entity with this id whose fields equal `also`; what is someone else's does not match."""
        with reaching_the_store():
            row = await self._collection.find_one({"_id": id_, **also})
        return self._from_row(row) if row is not None else None

    async def find(self, filter_: Row, *, sort: list[tuple[str, int]], limit: int) -> list[Entity]:
        with reaching_the_store():
            rows = await self._collection.find(filter_, sort=sort, limit=limit).to_list()
        return [self._from_row(row) for row in rows]

    async def count(self, filter_: Row, *, at_most: int) -> int:
        with reaching_the_store():
            return await self._collection.count_documents(filter_, limit=at_most)
