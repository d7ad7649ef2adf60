"""Whether a model's name is meant by an entry of the price table: the clauses of genai-prices, as JSON."""

import re
from collections.abc import Callable, Mapping
from typing import Any

Clause = Mapping[str, Any]
"""One operator and what it is compared with: `{"starts_with": "gpt-"}`, `{"or": [clause, ...]}`."""

_COMPACT_DATE = re.compile(r"-(20\d{2})(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?=-|:|$)")

_TESTS: Mapping[str, Callable[[str, str], bool]] = {
    "equals": lambda name, text: name == text.lower(),
    "starts_with": lambda name, text: name.startswith(text.lower()),
    "ends_with": lambda name, text: name.endswith(text.lower()),
    "contains": lambda name, text: text.lower() in name,
    "regex": lambda name, pattern: re.search(pattern, name) is not None,
}


def is_match(name: str, clause: Clause) -> bool:
    """Whether `name`, in lower case, satisfies the clause. Raises `KeyError` for an operator there is not."""
    ((operator, operand),) = clause.items()
    if operator == "or":
        return any(is_match(name, one) for one in operand)
    if operator == "and":
        return all(is_match(name, one) for one in operand)
    return _TESTS[operator](name, operand)


def spellings(model: str) -> tuple[str, ...]:
    """The names to try, in order: as it is, and with a date such as `-20251211` written `-2025-12-11`."""
    name = model.lower()
    dashed = _COMPACT_DATE.sub(r"-\1-\2-\3", name)
    return (name,) if dashed == name else (name, dashed)
