"""Status and metrics of an AAA server over HTTP, on a unix socket or a loopback port: `/v1/status`, `/metrics`."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from aiohttp import web

from roamvpn.daemon.metrics import CONTENT_TYPE
from roamvpn.tables.problems import RoamvpnError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from roamvpn.daemon.metrics import Metrics

_DIRECTORY_MODE, _SOCKET_MODE = 0o750, 0o660
_LOOPBACK = "127.0.0.1"


async def serve(
    metrics: Metrics, status: Callable[[], dict[str, object]], path: Path, port: int | None
) -> web.AppRunner:
    """Listen at the path, and on the loopback port if there is one; raises RoamvpnError.

    Nothing secret is told, and nothing can be changed, so the port has no password.
    """

    async def metrics_text(_request: web.Request) -> web.Response:
        return web.Response(body=metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    async def status_object(_request: web.Request) -> web.Response:
        return web.json_response(status())

    application = web.Application(client_max_size=1024)
    application.router.add_get("/metrics", metrics_text)
    application.router.add_get("/v1/status", status_object)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await _unix(runner, path)
        if port is not None:
            await web.TCPSite(runner, _LOOPBACK, port).start()
    except OSError as error:
        await runner.cleanup()
        raise RoamvpnError(f"status cannot be told: {error.strerror or error}") from None
    except RoamvpnError:
        await runner.cleanup()
        raise
    return runner


def _free(path: Path) -> None:
    path.parent.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise RoamvpnError(f"{path}: is there, and no socket")
        path.unlink()


async def _unix(runner: web.AppRunner, path: Path) -> None:
    _free(path)
    # nobody may come before the mode is set
    before = os.umask(0o777 & ~_SOCKET_MODE)
    try:
        await web.UnixSite(runner, str(path)).start()
    finally:
        os.umask(before)
