"""Fixtures every test may ask for; each is written in a file of `tests/fixtures` and named here."""

from tests.fixtures.servers import fresh_database_name, servers
from tests.fixtures.service import service, start_service

__all__ = ["fresh_database_name", "servers", "service", "start_service"]
