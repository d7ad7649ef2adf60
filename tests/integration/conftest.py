"""Fixtures of the tests on real stores."""

from tests.integration.steps import steps

__all__ = ["steps"]
