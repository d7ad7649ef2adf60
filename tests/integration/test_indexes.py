"""Indexes are there from the start, and one that is missing is noticed."""

from message_service.embedded.servers import EmbeddedServers
from message_service.store.database import open_database
from message_service.store.documents import IDEMPOTENCY_KEPT_SECONDS
from message_service.store.indexes import MissingIndex, missing_indexes


async def test_indexes_are_created_when_a_database_is_opened(
    servers: EmbeddedServers, fresh_database_name: str
) -> None:
    async with open_database(servers.mongodb_url, fresh_database_name, role="test", with_indexes=True) as database:
        assert await missing_indexes(database) == []
        replies = await database.replies.index_information()
        assert replies["one_running"]["unique"]
        assert replies["one_running"]["partialFilterExpression"] == {"status": "running"}
        assert (await database.messages.index_information())["path"]["unique"]
        kept = (await database.idempotency.index_information())["kept_for_a_day"]
        assert kept["expireAfterSeconds"] == IDEMPOTENCY_KEPT_SECONDS == 86_400


async def test_index_is_reported_when_it_was_dropped(servers: EmbeddedServers, fresh_database_name: str) -> None:
    async with open_database(servers.mongodb_url, fresh_database_name, role="test", with_indexes=True) as database:
        await database.replies.drop_index("leases")
        await database.messages.drop_index("path")
        assert await missing_indexes(database) == [MissingIndex("messages", "path"), MissingIndex("replies", "leases")]


async def test_every_index_is_reported_when_the_database_is_new(
    servers: EmbeddedServers, fresh_database_name: str
) -> None:
    async with open_database(servers.mongodb_url, fresh_database_name, role="test", with_indexes=False) as database:
        missing = await missing_indexes(database)
        assert {one.index for one in missing} >= {
            "path",
            "posted",
            "variants",
            "turns",
            "one_running",
            "ready",
            "leases",
        }
        assert await database.database.list_collection_names() == []


async def test_dropped_index_comes_back_when_the_database_is_opened_again(
    servers: EmbeddedServers, fresh_database_name: str
) -> None:
    for _ in range(2):
        async with open_database(servers.mongodb_url, fresh_database_name, role="test", with_indexes=True) as database:
            assert await missing_indexes(database) == []
            await database.replies.drop_index("turns")
