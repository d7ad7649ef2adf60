"""Admin commands to a mongod over its unix socket: MongoDB's OP_MSG, one request and one answer at a time.

The driver would bring threads and 25 MB into the supervisor, and a client made before the replica set exists keeps
believing that there is none.
"""

import socket
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bson

_ANSWER_SECONDS = 30.0
_OP_MSG = 2013
_HEADER = struct.Struct("<iiii")  # length with this header, request id, id of the request answered, operation
_BODY_PREFIX = struct.Struct("<IB")  # flag bits, kind of the section: 0, a single document


class Connection:
    """Source of the format: the MongoDB wire protocol manual, OP_MSG."""

    def __init__(self, transport: socket.socket) -> None:
        self._transport = transport

    def command(self, command: Mapping[str, Any]) -> dict[str, Any]:
        """The answer, also where it is an error (`ok` 0 with `code`). Raises OSError or EOFError without an answer."""
        body = _BODY_PREFIX.pack(0, 0) + bson.encode({**command, "$db": "admin"})
        self._transport.sendall(_HEADER.pack(_HEADER.size + len(body), 1, 0, _OP_MSG) + body)
        length = _HEADER.unpack(self._read(_HEADER.size))[0]
        return bson.decode(self._read(length - _HEADER.size)[_BODY_PREFIX.size :])

    def _read(self, size: int) -> bytes:
        received = bytearray()
        while len(received) < size:
            part = self._transport.recv(size - len(received))
            if not part:
                raise EOFError("mongod closed the connection")
            received += part
        return bytes(received)


@contextmanager
def connect(path: Path) -> Iterator[Connection]:
    """Raises OSError when nothing listens on the socket `path`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as transport:
        transport.settimeout(_ANSWER_SECONDS)
        transport.connect(str(path))
        yield Connection(transport)
