"""Takes connections: so many and no more, each with so much time, TLS included."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from structlog.typing import FilteringBoundLogger

    from roamvpn.daemon.diameter.connection import Connection
    from roamvpn.daemon.diameter.settings import Limits, Listen

_BACKLOG = 128
_PAUSE = 0.2
"""Seconds before it is tried again where the process has no file descriptor left."""


class Listener:
    """One listening socket. Connections are counted from accept on, before TLS, so that nobody can hold many."""

    def __init__(
        self,
        listen: Listen,
        connection: Callable[[], Connection],
        context: Callable[[], ssl.SSLContext | None],
        limits: Limits,
        log: FilteringBoundLogger,
    ) -> None:
        self._listen = listen
        self._connection = connection
        self._context = context
        self._limits = limits
        self._log = log
        self._socket: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._greeting: set[asyncio.Task[None]] = set()
        self._taken: set[Connection] = set()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._socket.getsockname()[1]) if self._socket is not None else 0

    async def start(self) -> None:
        """Open the socket; raises OSError."""
        host, port = self._listen.host, self._listen.port
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, port), family=family, backlog=_BACKLOG)
        self._socket.setblocking(False)  # noqa: FBT003 - the standard library's own argument
        self._accepting = asyncio.create_task(self._accept(), name=f"listener {host} {self.port}")

    async def stop(self) -> None:
        """Take no more; connections that stand are others' business."""
        tasks = [each for each in (self._accepting, *self._greeting) if each is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._socket is not None:
            self._socket.close()

    def released(self, connection: Connection) -> None:
        """One is gone."""
        self._taken.discard(connection)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        assert self._socket is not None  # noqa: S101 - it is started
        while True:
            try:
                taken, address = await loop.sock_accept(self._socket)
            except OSError as error:
                self._log.error("cannot accept", reason=error.strerror)
                await asyncio.sleep(_PAUSE)
                continue
            if len(self._taken) + len(self._greeting) >= self._limits.connections:
                self._log.warning("too many connections", address=address[0])
                taken.close()
                continue
            task = asyncio.create_task(self._greet(taken, address[0]))
            self._greeting.add(task)
            task.add_done_callback(self._greeting.discard)

    async def _greet(self, taken: socket.socket, address: str) -> None:
        loop = asyncio.get_running_loop()
        context = self._context() if self._listen.tls else None
        connection = self._connection()
        timeout = self._limits.handshake if context is not None else None
        try:
            await loop.connect_accepted_socket(connection.itself, taken, ssl=context, ssl_handshake_timeout=timeout)
        except (OSError, TimeoutError) as error:
            # no certificate, another CA, no TLS at all, or no patience
            reason = getattr(error, "reason", None) or type(error).__name__
            self._log.warning("no TLS", address=address, reason=reason)
            connection.never("no TLS")
        except asyncio.CancelledError:
            taken.close()
            connection.never("stopped")
            raise
        else:
            if not connection.done.is_set():
                self._taken.add(connection)
