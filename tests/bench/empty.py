"""An HTTP server of the same library that reads each body and answers nothing: what any server of ours takes at least.

Run as `python -m tests.bench.empty`.
"""

from __future__ import annotations

import asyncio
import json
import signal

from aiohttp import web

from provisioner.sockets import tcp


async def _answer(request: web.Request) -> web.Response:
    await request.read()
    return web.Response(body=b"{}", content_type="application/json")


async def _serve() -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", _answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    listener = tcp("127.0.0.1", 0)
    await web.SockSite(runner, listener).start()
    host, port = listener.getsockname()
    print(json.dumps({"event": "server.ready", "http": f"{host}:{port}"}), flush=True)
    await stop.wait()
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(_serve())
