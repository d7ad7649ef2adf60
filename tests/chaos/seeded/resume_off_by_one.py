"""A watcher that comes back is taken to have seen one character more than it has."""

from types import SimpleNamespace

from message_service.api import replies
from message_service.live.event import Position
from tests.chaos.seeded import plant_in


def plant() -> None:
    def parse_one_too_far(text: str) -> Position:
        position = Position.parse(text)
        return position._replace(characters=position.characters + 1)

    # In the route alone: the follower reads positions too.
    plant_in(replies, Position=SimpleNamespace(parse=parse_one_too_far))
