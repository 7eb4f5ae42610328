"""Take an address before anything else is done, and end without an error when the end is asked for."""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Iterator

import uvicorn

from pneumonia.errors import ConfigError


class CalmServer(uvicorn.Server):
    """A server that answers what it has accepted after SIGTERM or SIGINT, and ends with 0: that is no failure."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle the signals while serving, and do not raise them again."""
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def bound(host: str, port: int, name: str) -> socket.socket:
    """Return a socket that holds the address, which does not accept yet.

    Args:
        host: name or address.
        port: 0: any free one.
        name: of the setting, for the error.

    Raises:
        ConfigError: the address cannot be taken.
    """
    listener = None
    try:
        family, kind, number, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, number)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        if listener is not None:
            listener.close()
        raise ConfigError(
            f"{name}: {host}:{port} cannot be taken ({error.strerror or error}); end what uses it, "
            "or choose another with --port, 0 for any free one"
        ) from None
    return listener


def address_of(listener: socket.socket) -> str:
    """Return the URL of a listening socket."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
