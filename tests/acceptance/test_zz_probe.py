from tests.acceptance.test_requests import *
import pytest
@pytest.mark.parametrize("n", range(40))
async def test_p(caller, n):
    await test_body_is_too_large_when_it_is_past_the_bound(caller)
@pytest.mark.parametrize("n", range(20))
async def test_q(caller, n):
    await test_body_is_too_large_when_it_comes_in_chunks_without_a_length(caller)
