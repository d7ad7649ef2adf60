"""What the load generator sends: create requests that all differ, pages of history. Deterministic by seed."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import orjson

CONTENT_CHARACTERS = 240
HOT_CONVERSATIONS = 200
HOT_SHARE = 0.5
"""Half of the messages go to `HOT_CONVERSATIONS`, the others each open a conversation of a user never seen before."""

_OPENINGS = (
    "Hello again", "Good morning", "By the way", "I was thinking", "Yesterday evening", "You will not believe this",
    "Tell me honestly", "Before I forget", "After a long day at work", "Between the two of us",
)  # fmt: skip
_SUBJECTS = (
    "my sister", "the old captain", "our neighbour", "a friend from school", "the gardener", "that strange cat",
    "the baker on the corner", "my grandmother", "the new teacher", "your brother",
)  # fmt: skip
_VERBS = (
    "found", "painted", "told me about", "was looking for", "repaired", "wrote a song about", "could not stop praising",
    "dreamt of", "brought home", "almost bought",
)  # fmt: skip
_OBJECTS = (
    "a map of the northern islands", "an unusual blue lantern", "the little boat in the harbour",
    "a recipe for plum cake", "three letters from Lisbon", "the clock above the station", "a book with empty pages",
    "the garden behind the mill", "a train that runs at night", "the smallest library in town",
)  # fmt: skip
_CLOSINGS = (
    "What would you have done?", "Do you remember?", "Please tell me a story about it.", "It made me smile.",
    "I wonder what happens next.", "Shall we go there together?", "I could use your advice.", "How was your day?",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """A stream of requests, by name, so that it can cross into the load generator's process."""

    kind: Literal["create", "pages"]
    run: str
    """Part of every id, so that runs do not meet each other's conversations."""
    expected_status: int
    """Every answer must have it."""
    is_reply_asked: bool = False
    paths: tuple[str, ...] = ()
    users: tuple[str, ...] = ()


def requests(traffic: Traffic) -> Iterator[bytes]:
    """Complete HTTP/1.1 requests; never ends."""
    return _creates(traffic) if traffic.kind == "create" else _pages(traffic)


def content(random_source: random.Random, number: int) -> str:
    """About `CONTENT_CHARACTERS` of plain English; `number` makes it differ from every other."""
    sentences = [f"{random_source.choice(_OPENINGS)}, note {number}:"]
    while sum(map(len, sentences)) + len(sentences) < CONTENT_CHARACTERS - 70:
        parts = (random_source.choice(_SUBJECTS), random_source.choice(_VERBS), random_source.choice(_OBJECTS))
        sentences.append(" ".join(parts).capitalize() + ".")
    sentences.append(random_source.choice(_CLOSINGS))
    return " ".join(sentences)


def _creates(traffic: Traffic) -> Iterator[bytes]:
    random_source = random.Random(traffic.run)
    contents = [content(random_source, number) for number in range(2048)]
    number = 0
    while True:
        for text in contents:
            number += 1
            is_hot = random_source.random() < HOT_SHARE
            who = f"hot-{random_source.randrange(HOT_CONVERSATIONS)}" if is_hot else f"new-{number}"
            body: dict[str, object] = {"conversation_id": f"c-{traffic.run}-{who}", "content": f"{text} ({number})"}
            if traffic.is_reply_asked:
                body["reply"] = {}
            encoded = orjson.dumps(body)
            head = (
                f"POST /v1/messages HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                f"X-User-Id: u-{traffic.run}-{who}\r\nContent-Length: {len(encoded)}\r\n\r\n"
            )
            yield head.encode() + encoded


def _pages(traffic: Traffic) -> Iterator[bytes]:
    ready = [
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-User-Id: {user}\r\n\r\n".encode()
        for path, user in zip(traffic.paths, traffic.users, strict=True)
    ]
    while True:
        yield from ready
