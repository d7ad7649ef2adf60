"""Fixtures every test may ask for; each is written in a file of `tests/fixtures` and named here."""

from tests.fixtures.replica_set import replica_set
from tests.fixtures.servers import fresh_database_name, servers
from tests.fixtures.service import process_environment, service, start_service
from tests.fixtures.stores import command_log, database, logged_database, opened_database, redis_url, relay

__all__ = [
    "command_log",
    "database",
    "fresh_database_name",
    "logged_database",
    "opened_database",
    "process_environment",
    "redis_url",
    "relay",
    "replica_set",
    "servers",
    "service",
    "start_service",
]
