"""A watcher that comes back is taken to have seen one character more than it has."""

from dataclasses import replace

from message_service.live.event import Position
from tests.chaos.seeded import plant_in


def plant() -> None:
    parse = Position.parse

    def parse_one_too_far(text: str) -> Position:
        position = parse(text)
        return replace(position, characters=position.characters + 1)

    plant_in(Position, parse=parse_one_too_far)
