"""How long text is gathered before it goes on, from a provider and to the watchers. A policy without state."""

_SHORTEST_SECONDS = 0.04
_LONGEST_SECONDS = 0.25
_SECONDS_PER_REPLY = 0.00025


def gathering_seconds(replies: int) -> float:
    """The least time between two pieces of one reply's text, in a process that writes so many at the same time.

    A piece costs about the same whatever its length, so a process with many takes fewer and longer ones: up to
    160 replies show 25 pieces a second each, 1,000 and more show four. The first piece never waits.
    """
    return min(_LONGEST_SECONDS, max(_SHORTEST_SECONDS, _SECONDS_PER_REPLY * replies))
