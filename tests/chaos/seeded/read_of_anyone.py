"""Reading by id forgets to ask whose it is."""

from typing import Any

from message_service.store.repository import Repository
from tests.chaos.seeded import plant_in


def plant() -> None:
    get = Repository.get

    async def get_without_owner(repository: Any, id_: str, **also: Any) -> Any:
        also.pop("user_id", None)
        return await get(repository, id_, **also)

    plant_in(Repository, get=get_without_owner)
