"""The two stores every process needs."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from message_service.errors import InvalidSettings
from message_service.relay import Relay, open_relay
from message_service.settings import Settings
from message_service.store.database import Database, open_database
from message_service.store.server_time import keeping_time


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    database: Database
    relay: Relay


@asynccontextmanager
async def open_stores(settings: Settings, *, role: str, with_indexes: bool) -> AsyncIterator[Stores]:
    """Both, and this process's clock in step with MongoDB's.

    Raises `InvalidSettings` when a URL is missing or unusable, `StoreUnavailable` when MongoDB does not answer.
    """
    if settings.mongodb_url is None or settings.redis_url is None:
        raise InvalidSettings(
            "MESSAGE_SERVICE_MONGODB_URL and MESSAGE_SERVICE_REDIS_URL must be set; "
            "`message-service dev` brings servers of its own."
        )
    async with AsyncExitStack() as stack:
        relay = await stack.enter_async_context(open_relay(settings.redis_url.get_secret_value()))
        database = await stack.enter_async_context(
            open_database(
                settings.mongodb_url.get_secret_value(),
                settings.mongodb_database,
                role=role,
                with_indexes=with_indexes,
            )
        )
        await stack.enter_async_context(keeping_time(database))
        yield Stores(database=database, relay=relay)
