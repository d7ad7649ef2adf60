"""Numbers in the words of servers that refuse a prompt as too long."""

import pytest

from message_service.errors import ContextTooLong
from message_service.providers.context_numbers import context_numbers
from message_service.providers.faults import Complaint, classify


@pytest.mark.parametrize(
    ("message", "numbers"),
    [
        ("request (45023 tokens) exceeds the available context size (4096 tokens), try increasing it", (45023, 4096)),
        ("The number of tokens to keep ... (n_keep: 5000>= n_ctx: 4096). Try", (5000, 4096)),
        (
            "Trying to keep the first 7000 tokens when context the overflows. However, the model is loaded with "
            "context length of only 4096 tokens",
            (7000, 4096),
        ),
        ("prompt is too long: 213462 tokens > 200000 maximum", (213462, 200000)),
        (
            "This model's maximum context length is 8192 tokens. However, your messages resulted in 9001 tokens.",
            (9001, 8192),
        ),
        ("Context size has been exceeded", (None, None)),
    ],
)
def test_numbers_are_read_when_a_server_tells_them(message: str, numbers: tuple[int | None, int | None]) -> None:
    assert context_numbers(message) == numbers
    error = classify("a", 400, Complaint(message))
    assert isinstance(error, ContextTooLong)
    assert (error.prompt_tokens, error.context_tokens) == numbers
