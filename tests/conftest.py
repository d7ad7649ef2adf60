"""Fixtures every test may ask for; each is written in a file of `tests/fixtures` and named here."""

from tests.fixtures.servers import fresh_database_name, servers

__all__ = ["fresh_database_name", "servers"]
