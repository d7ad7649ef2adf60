"""Reading a provider's stream to its end, whichever way it ends."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from message_service.errors import ProviderError
from message_service.messages.message import Role
from message_service.providers.provider import Finished, Prompt, Started, TextDelta, Turn


@dataclass(slots=True)
class Reading:
    """What came, and the error of our tree that ended it, if one did. Any other error fails the test."""

    events: list[object] = field(default_factory=list)
    error: ProviderError | None = None

    @property
    def deltas(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, TextDelta)]

    @property
    def text(self) -> str:
        return "".join(self.deltas)

    @property
    def finished(self) -> Finished | None:
        last = self.events[-1] if self.events else None
        return last if isinstance(last, Finished) else None


async def read(stream: AsyncIterator[object]) -> Reading:
    reading = Reading()
    try:
        async for event in stream:
            reading.events.append(event)
    except ProviderError as error:
        reading.error = error
    return reading


def assert_in_contract(reading: Reading) -> None:
    """What holds for every stream of every provider, however it ended."""
    assert all(delta and delta.encode() for delta in reading.deltas), "deltas are not empty and valid Unicode"
    kinds = [type(event) for event in reading.events]
    assert kinds.count(Started) == (1 if kinds else 0), "it starts once"
    assert not kinds or kinds[0] is Started, "it starts first"
    if reading.error is None:
        assert kinds.count(Finished) == 1, "it ends once"
        assert kinds[-1] is Finished, "it ends last"
    else:
        assert Finished not in kinds, "an error is the end"


def prompt(
    text: str = "Hello",
    *,
    instructions: str | None = "You are Mira.",
    max_output_tokens: int = 400,
    stop: tuple[str, ...] = (),
    model: str | None = None,
    prompt_tokens: int = 20,
    temperature: float | None = None,
    prefill: str = "",
    attempt_id: str = "",
    attempt: int = 1,
) -> Prompt:
    return Prompt(
        instructions=instructions,
        turns=(Turn(Role.USER, text),),
        prompt_tokens=prompt_tokens,
        temperature=temperature,
        prefill=prefill,
        max_output_tokens=max_output_tokens,
        model=model,
        stop=stop,
        attempt_id=attempt_id,
        attempt=attempt,
    )
