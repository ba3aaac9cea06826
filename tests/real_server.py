"""A whole server in this process, on loopback, and shell commands that talk to it as hosts do."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import ClientSession

from provisioner.config import read_config
from provisioner.power.registry import PowerDrivers
from provisioner.server import Server, build

PASSWORD = "correct horse"


@asynccontextmanager
async def running(folder: Path, **more: Any) -> AsyncIterator[tuple[Server, ClientSession]]:
    """The server, and a session of an operator who has logged in."""
    (folder / "password").write_text(PASSWORD)
    settings = {"data_dir": str(folder / "data"), "admin.password_file": str(folder / "password")}
    ports = {"listen.http": "127.0.0.1:0", "listen.ui": "127.0.0.1:0", "listen.dhcp": "off", "listen.tftp": "off"}
    server = build(read_config(settings | ports | more, {}), {}, version="test", drivers=PowerDrivers({}))
    task = asyncio.create_task(server.run(lambda line: None, {}))
    async with ClientSession(f"http://127.0.0.1:{server.port('ui')}") as session:
        while (await session.get("/readyz")).status != 200:
            """It is listening already; this only waits for its turn."""
        login = await session.post("/api/v1/login", json={"username": "admin", "password": PASSWORD})
        session.headers["Authorization"] = f"Bearer {(await login.json())['token']}"
        yield server, session
    server.stop()
    await task


async def sh(command: str, **env: str) -> tuple[int, str]:
    """Exit code and all output of a shell command."""
    clean = {"PATH": os.environ["PATH"], **env}
    piped = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        "sh", "-c", command, env=clean, stdin=asyncio.subprocess.DEVNULL, stdout=piped, stderr=asyncio.subprocess.STDOUT
    )
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode or 0, out.decode()
