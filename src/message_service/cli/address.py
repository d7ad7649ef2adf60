"""Where the API will listen, found out before anything is started."""

import errno
import socket

from message_service.errors import StartRefused

_ANY_TO_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # what a browser can go to


def free_port(host: str, port: int) -> int:
    """`port`, or a free one where it is 0. Raises StartRefused when the API could not listen there."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            # As the API's server does: a port that is merely cooling down after its last owner is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            found: int = probe.getsockname()[1]
            return found
    except OSError as fault:
        if fault.errno == errno.EADDRINUSE:
            raise StartRefused(
                f"Port {port} on {host} is in use. Stop what listens there, or set MESSAGE_SERVICE_PORT to another "
                "(0 picks a free one)."
            ) from fault
        raise StartRefused(
            f"The API cannot listen on {host} port {port}: {fault.strerror}. "
            "Set MESSAGE_SERVICE_HOST and MESSAGE_SERVICE_PORT to an address of this machine."
        ) from fault


def reachable_host(host: str) -> str:
    """An address to reach the API at from this machine."""
    return _ANY_TO_LOOPBACK.get(host, host)


def base_url(host: str, port: int) -> str:
    name = reachable_host(host)
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"
