"""Fixtures of the tests on real stores."""

from tests.integration.explaining import furnished
from tests.integration.reading import messages, pages
from tests.integration.stage import stage, stores_of_the_stage, token_counter
from tests.integration.steps import steps

__all__ = ["furnished", "messages", "pages", "stage", "steps", "stores_of_the_stage", "token_counter"]
