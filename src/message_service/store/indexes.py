"""Compares the indexes that exist with those the documents declare."""

from dataclasses import dataclass

from beanie import Document

from message_service.store.database import Database, reaching_the_store
from message_service.store.documents import ALL_DOCUMENTS


@dataclass(frozen=True, slots=True)
class MissingIndex:
    collection: str
    index: str


async def missing_indexes(database: Database) -> list[MissingIndex]:
    """Declared indexes that the database does not have."""
    missing: list[MissingIndex] = []
    with reaching_the_store():
        for document in ALL_DOCUMENTS:
            existing = await database.database[_collection(document)].index_information()
            missing += [
                MissingIndex(_collection(document), name) for name in _declared(document) if name not in existing
            ]
    return missing


def _collection(document: type[Document]) -> str:
    return str(document.Settings.name)


def _declared(document: type[Document]) -> list[str]:
    return [str(index.document["name"]) for index in getattr(document.Settings, "indexes", [])]
