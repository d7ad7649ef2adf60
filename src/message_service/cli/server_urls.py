"""Where MongoDB and Redis are, for a command that may be run beside a `dev`."""

from pydantic import SecretStr

from message_service.embedded.layout import Layout
from message_service.embedded.lock import is_held
from message_service.settings import Settings


def with_server_urls(settings: Settings) -> Settings:
    """The settings; where a URL is missing, the servers of a `dev` that runs on the data folder stand in."""
    layout = Layout.of(settings.data_dir)
    found: dict[str, SecretStr] = {}
    if is_held(layout.lock):
        if settings.mongodb_url is None and layout.mongod_socket.exists():
            found["mongodb_url"] = SecretStr(layout.mongodb_url)
        if settings.redis_url is None and layout.redis_socket.exists():
            found["redis_url"] = SecretStr(layout.redis_url())
    return settings.model_copy(update=found)
