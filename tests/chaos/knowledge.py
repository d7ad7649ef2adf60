"""What the clients of a run know: their users, conversations, and what they posted so far. Does no I/O."""

import random
from collections import deque
from dataclasses import dataclass, field
from itertools import count

_POSTS_PER_CONVERSATION = 60
"""Then its user begins another, so that a walk through one stays short however long the run is."""
_REMEMBERED = 500
_WORDS = (
    *("harbour", "lamp", "stone", "clock", "river", "paper", "window", "salt", "lantern", "grove", "ember", "tide"),
    "\N{GRINNING FACE}",
    "\N{HIRAGANA LETTER A}\N{HIRAGANA LETTER I}",
    "caf\N{LATIN SMALL LETTER E WITH ACUTE}",
    "\N{WHITE SMILING FACE}\N{VARIATION SELECTOR-16}",
)


@dataclass(slots=True)
class Conversation:
    id: str
    posts: int = 0


@dataclass(slots=True)
class User:
    """`canary` is a secret that stands in every text of this user and in no other."""

    id: str
    canary: str
    conversations: list[Conversation]


@dataclass(frozen=True, slots=True)
class Known:
    """A message that was acknowledged, and how it was posted."""

    user: User
    conversation: str
    message_id: str
    reply_id: str | None
    key: str | None
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    content: str
    reply: str | None
    """What the reply must say; None where none is asked for."""


@dataclass(slots=True)
class Knowledge:
    """Only what was posted lately is remembered: an hour's run must not fill the memory."""

    run: str
    users: list[User]
    dice: random.Random
    posted: deque[Known] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))
    hidden: deque[tuple[User, str]] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))
    ever_hidden: set[str] = field(default_factory=set)
    _turns: "count[int]" = field(default_factory=count)
    _texts: "count[int]" = field(default_factory=lambda: count(1))
    _conversations: "count[int]" = field(default_factory=lambda: count(1))

    @classmethod
    def of(cls, run: str, *, users: int, conversations_each: int, dice: random.Random) -> "Knowledge":
        found = cls(run, [], dice)
        for number in range(users):
            user = User(f"user-{run}-{number}", f"canary{dice.getrandbits(128):032x}", [])
            user.conversations += [found._new_conversation() for _ in range(conversations_each)]
            found.users.append(user)
        return found

    def next_place(self) -> tuple[User, str]:
        """Users in turn, so that each stays below the rate limit."""
        user = self.users[next(self._turns) % len(self.users)]
        at = self.dice.randrange(len(user.conversations))
        if user.conversations[at].posts >= _POSTS_PER_CONVERSATION:
            user.conversations[at] = self._new_conversation()
        user.conversations[at].posts += 1
        return user, user.conversations[at].id

    def new_text(self, user: User, *, asks_reply: bool) -> Text:
        """Unlike any other of the run. What is asked for says the same whichever provider answers."""
        number = next(self._texts)
        if not asks_reply:
            return Text(content=f"{user.canary} note {number} {self._words(5)}", reply=None)
        # One in ten takes long enough to be killed in the middle.
        words, rate = (40, 20) if self.dice.random() < 0.1 else (self.dice.randint(4, 16), 100)
        reply = f"{user.canary} reply {number} {self._words(words)}"
        return Text(content=f"/script rate={rate}\n{reply}", reply=reply)

    def any_posted(self) -> Known | None:
        return self.dice.choice(self.posted) if self.posted else None

    def latest(self, *, with_reply: bool) -> Known | None:
        """One of the last twenty."""
        lately = [known for known in list(self.posted)[-20:] if known.reply_id is not None or not with_reply]
        return self.dice.choice(lately) if lately else None

    def somebody_else(self, user: User) -> User:
        return self.dice.choice([other for other in self.users if other is not user])

    def _words(self, number: int) -> str:
        return " ".join(self.dice.choices(_WORDS, k=number))

    def _new_conversation(self) -> Conversation:
        return Conversation(f"conversation-{self.run}-{next(self._conversations)}")
