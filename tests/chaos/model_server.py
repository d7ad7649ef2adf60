"""A model server, as LM Studio is one, that answers what the prompt scripts and misbehaves on command."""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from message_service.providers.script import DIRECTIVE, read_script
from tests.contract.providers.fault_server import (
    DONE,
    FaultServer,
    Pause,
    Request,
    Reset,
    Silence,
    Step,
    answer,
    delta,
    event,
    lm_studio_models,
    stream_head,
    usage,
)

MODEL = "chaos-model"
_WORD = re.compile(r"\s*\S{1,16}|\s+")
_WORDS_PER_SECOND = 40.0


class Mood(StrEnum):
    WELL = "well"
    ERROR_500 = "error_500"
    RATE_LIMITED = "rate_limited"
    """429, with Retry-After."""
    OVERLOADED = "overloaded"
    """529, as Anthropic answers."""
    STALLS = "stalls"
    """A word, then nothing more on an open connection."""
    CUT = "cut"
    """The connection is reset in the middle of the text."""
    ENDS_EARLY = "ends_early"
    """The connection is closed in the middle as if all had been said."""
    ERROR_EVENT = "error_event"
    """An error in the middle of a stream that began with 200."""
    EMPTY = "empty"
    """A whole stream without any text."""


@dataclass(slots=True)
class ModelServer:
    """The same prompt gives the same text as the scripted provider's, where the message scripts it."""

    seed: int = 0
    mood: Mood = Mood.WELL
    requests: int = 0
    server: FaultServer = field(default_factory=FaultServer)
    _random: random.Random = field(default_factory=random.Random)

    def __post_init__(self) -> None:
        self._random.seed(self.seed)
        self.server.routes["/api/v1/models"] = [lm_studio_models(**{MODEL: 32_000})]
        self.server.routes["/v1/chat/completions"] = self._complete

    @property
    def port(self) -> int:
        return int(self.server.url.rpartition(":")[2])

    def heal(self) -> None:
        self.mood = Mood.WELL

    def _complete(self, request: Request) -> Sequence[Step]:
        self.requests += 1
        self.server.requests.clear()  # of an hour's prompts none is looked at again
        match self.mood:
            case Mood.ERROR_500:
                return [answer(500, {"error": {"message": "Something broke."}})]
            case Mood.RATE_LIMITED:
                return [answer(429, {"error": {"message": "Slow down."}}, {"Retry-After": "1"})]
            case Mood.OVERLOADED:
                return [answer(529, {"error": {"type": "overloaded_error", "message": "Overloaded"}})]
            case Mood.EMPTY:
                return [stream_head(), delta(finish="stop"), usage(10, 0), DONE]
            case _:
                return self._stream(request.json())

    def _stream(self, body: dict[str, Any]) -> Sequence[Step]:
        text, words_per_second = written(_last_user_text(body))
        words = _WORD.findall(text)
        pause = Pause(1 / words_per_second)
        said: list[Step] = [stream_head()]
        breaks_at = self._random.randrange(len(words) + 1)
        for word in words if self.mood is Mood.WELL else words[:breaks_at]:
            said += [delta(word), pause]
        match self.mood:
            case Mood.STALLS:
                return [*said, Silence()]
            case Mood.CUT:
                return [*said, Reset()]
            case Mood.ENDS_EARLY:
                return said
            case Mood.ERROR_EVENT:
                return [*said, event({"error": {"type": "overloaded_error", "message": "Overloaded"}})]
            case _:
                return [*said, delta(finish="stop"), usage(10, len(words)), DONE]


def written(message: str) -> tuple[str, float]:
    """What the reply to `message` says, and at how many words a second."""
    script = read_script(message)
    if script is None or script.text is None:
        return f"You said: {message}", _WORDS_PER_SECOND
    return script.text, min(script.words_per_second or _WORDS_PER_SECOND, 10_000)


def _last_user_text(body: dict[str, Any]) -> str:
    text: str = next(turn["content"] for turn in reversed(body["messages"]) if turn["role"] == "user")
    # Messages of one author that follow one another come as one; the last is what is to be answered.
    return text[max(0, text.rfind(f"{DIRECTIVE} ")) :]
