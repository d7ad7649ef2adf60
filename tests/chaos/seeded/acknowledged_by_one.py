"""A message is acknowledged when one member of the set has it: a primary that lost its place takes it back."""

from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from message_service.store import transaction
from tests.chaos.seeded import plant_in


def plant() -> None:
    plant_in(transaction, durable_options=lambda: (ReadConcern("snapshot"), WriteConcern(w=1)))
