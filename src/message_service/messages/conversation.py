"""A conversation as this service sees it: a counter, a current path, and at most one running reply."""

MAX_MESSAGES = 10_000
"""Messages in a conversation, those included for which room is reserved because a reply is on its way."""


def has_room(*, last_seq: int, reserved: int, wanted: int) -> bool:
    """Whether `wanted` more messages fit. A reply asked for always has its place: it is counted when asked for."""
    return last_seq + reserved + wanted <= MAX_MESSAGES
