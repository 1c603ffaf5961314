"""The hook: HTTP over a unix socket for those who may speak for this gateway, and over loopback for a RADIUS server.

| request | body |
| --- | --- |
| `POST /v1/events` | one event |
| `POST /v1/radius` | one accounting request, as FreeRADIUS's rlm_rest posts it |
| `POST /v1/kea` | one lease, as `kea-run-script` posts it |

202 accepted, 200 a duplicate, 409 stale or another event's id, 413 too large, 422 not an event of this gateway; 429 and
503 say in Retry-After when to try again, and that nothing was kept. RADIUS is told what rlm_rest understands: 204, with
no attributes to set, for what is kept; 503 for whatever must be sent again.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import os
import socket
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from aiohttp import web

from roamvpn.agent.events import MAX_BYTES
from roamvpn.agent.intake import Form
from roamvpn.tables.problems import RoamvpnError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from pathlib import Path

    from roamvpn.agent.intake import Intake, Reply

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

SOCKET_MODE, DIRECTORY_MODE = 0o660, 0o750
_READ_TIMEOUT = 5.0
"""Seconds in which the body of a request must have come."""
_RETRY_AFTER = {429: "1", 503: "5"}
_LOOPBACK = frozenset({"127.0.0.1"})


def app(intake: Intake, forms: Iterable[Form] = Form) -> web.Application:
    """The application of the unix socket; who may open that may use all of it. Add routes to it as you like."""
    # one byte more: what is as large as allowed must still be read whole
    application = web.Application(client_max_size=MAX_BYTES + 1)
    for form in forms:
        application.router.add_post(f"/v1/{form}", _handler(intake, form))
    return application


def radius_app(intake: Intake, user: str, password: str) -> web.Application:
    """The application of a loopback port, to which every local process can connect: RADIUS only, with a password.

    Basic authentication (RFC 7617), which is what rlm_rest has. Raises RoamvpnError for an empty password.
    """
    if not password:
        raise RoamvpnError("accounting over loopback needs a password: every local process can connect there")
    expected = b"Basic " + base64.b64encode(f"{user}:{password}".encode())

    @web.middleware
    async def authenticated(request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.headers.get("Authorization", "").encode(errors="replace")
        if not hmac.compare_digest(given, expected):
            raise web.HTTPUnauthorized(headers={"WWW-Authenticate": 'Basic realm="roamvpn"'})
        return await handler(request)

    application = app(intake, [Form.RADIUS])
    application.middlewares.append(authenticated)
    return application


async def serve(application: web.Application, where: Path | int | tuple[str, int]) -> web.AppRunner:
    """Listen at a path, on a socket that systemd has passed (its descriptor), or on a loopback port.

    Stop it with `await runner.cleanup()`, which lets requests under way end. Raises RoamvpnError.
    """
    runner = web.AppRunner(application, access_log=None, handle_signals=False, shutdown_timeout=5.0)
    await runner.setup()
    try:
        if isinstance(where, tuple):
            await _loopback(runner, *where)
        elif isinstance(where, int):
            await web.SockSite(runner, socket.socket(fileno=where), backlog=1024).start()
        else:
            await web.SockSite(runner, _bound(where), backlog=1024).start()
    except OSError as error:
        await runner.cleanup()
        raise RoamvpnError(f"{where}: {error.strerror or error}") from None
    except RoamvpnError:
        await runner.cleanup()
        raise
    return runner


def _handler(intake: Intake, form: Form) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        try:
            async with asyncio.timeout(_READ_TIMEOUT):
                raw = await request.read()
        except TimeoutError:
            raise web.HTTPRequestTimeout from None
        except web.HTTPRequestEntityTooLarge:
            return _response(intake.too_large(form))
        reply = await intake.take(form, raw)
        return _for_radius(reply) if form is Form.RADIUS else _response(reply)

    return handle


def _for_radius(reply: Reply) -> web.Response:
    if reply.status < 300:
        # attributes in a body would be put into the accounting response
        return web.Response(status=204)
    # rlm_rest takes 429 for a request that is wrong for ever
    return _response(reply._replace(status=503) if reply.status == 429 else reply)


def _response(reply: Reply) -> web.Response:
    headers = {"Retry-After": _RETRY_AFTER[reply.status]} if reply.status in _RETRY_AFTER else {}
    body = {
        "result": reply.result,
        "generation": reply.standing.generation,
        "digest": reply.standing.digest,
        "problems": list(reply.problems),
    }
    return web.json_response(body, status=reply.status, headers=headers)


async def _loopback(runner: web.AppRunner, host: str, port: int) -> None:
    if host not in _LOOPBACK:
        raise RoamvpnError(f"{host}: accounting is taken over loopback only")
    await web.TCPSite(runner, host, port, backlog=1024).start()


def _bound(path: Path) -> socket.socket:
    """A socket bound at `path`, with its mode before anybody can connect. One that nobody listens at is replaced."""
    path.parent.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
    if stat.S_IMODE(path.parent.stat().st_mode) & 0o022:
        raise RoamvpnError(f"{path.parent}: others may write there")
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise RoamvpnError(f"{path}: is there already, and no socket")
        if _alive(path):
            raise RoamvpnError(f"{path}: another process listens there")
        path.unlink()
    bound = socket.socket(socket.AF_UNIX)
    try:
        before = os.umask(0o777 & ~SOCKET_MODE)
        try:
            bound.bind(str(path))
        finally:
            os.umask(before)
    except BaseException:
        bound.close()
        raise
    return bound


def _alive(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return False
        except BlockingIOError:
            # it has no time to answer
            return True
    return True
