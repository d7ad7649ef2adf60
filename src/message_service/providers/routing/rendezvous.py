"""Rendezvous hashing: every process finds the same home for a conversation, without having to agree on it. Pure."""

from collections.abc import Sequence
from hashlib import blake2b
from math import inf, log

from message_service.providers.routing.candidate import Candidate


def by_affinity(candidates: Sequence[Candidate], key: str) -> list[Candidate]:
    """The candidates, the home of `key` first.

    Highest random weight (Thaler and Ravishankar 1998), with weights as in weighted rendezvous hashing:
    when a target goes, only its own conversations move.
    """
    return sorted(candidates, key=lambda candidate: _score(candidate, key), reverse=True)


def _score(candidate: Candidate, key: str) -> float:
    if candidate.weight <= 0:
        return -inf
    digest = blake2b(f"{candidate.name}\n{key}".encode(), digest_size=8).digest()
    share = (int.from_bytes(digest) + 0.5) / 2**64
    return -candidate.weight / log(share) if share < 1 else inf
