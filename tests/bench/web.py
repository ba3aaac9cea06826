"""HTTP load: wrk on one processor, and nginx beside which we are measured on another."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.process import Process

SERVER_CPU, CLIENT_CPU = 0, 1
ON_SERVER_CPU = ("taskset", "-c", str(SERVER_CPU))
ON_CLIENT_CPU = ("taskset", "-c", str(CLIENT_CPU))
_START_SECONDS = 10
_STOP_SECONDS = 10
_DONE = """
done = function(summary, latency, requests)
  local failed = summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
  local result = '{"requests": %d, "bytes": %d, "seconds": %f, "failed": %d, "refused": %d, "p99_ms": %f}'
  io.write(string.format('RESULT ' .. result, summary.requests, summary.bytes, summary.duration / 1e6, failed,
    summary.errors.status,
    latency:percentile(99) / 1e3))
end
"""


@dataclass(frozen=True)
class Load:
    """What one run brought: answers and bytes in so many seconds of the clock and of the server's processor."""

    requests: int
    bytes: int
    seconds: float
    p99_ms: float
    cpu_seconds: float

    @property
    def requests_per_second(self) -> float:
        """Answers."""
        return self.requests / self.seconds

    @property
    def megabytes_per_second(self) -> float:
        """Millions of bytes."""
        return self.bytes / self.seconds / 1e6


def missing() -> str:
    """What is not installed that this needs, '' when all is there."""
    absent = [name for name in ("nginx", "wrk", "taskset") if shutil.which(name) is None]
    if (os.cpu_count() or 1) < 2:
        absent.append("a second processor")
    return f"there is no {', no '.join(absent)}" if absent else ""


async def load(server: Process, url: str, folder: Path, connections: int, seconds: int, script: str = "") -> Load:
    """Keep so many connections busy for so long; RuntimeError when an answer failed or was no 2xx."""
    lua = folder / "load.lua"
    lua.write_text(script + _DONE)
    argv = [*ON_CLIENT_CPU, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "-s", str(lua), url]
    cpu = server.cpu_seconds()
    process = await asyncio.create_subprocess_exec(*argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output = (await asyncio.wait_for(process.communicate(), seconds + 60))[0].decode()
    cpu = server.cpu_seconds() - cpu
    if "RESULT " not in output:
        raise RuntimeError(f"wrk failed:\n{output[-1000:]}")
    said = json.loads(output.partition("RESULT ")[2])
    if said["failed"] or said["refused"] or not said["bytes"]:
        raise RuntimeError(f"not all was answered at {url}: {said}")
    return Load(said["requests"], said["bytes"], said["seconds"], said["p99_ms"], cpu)


@asynccontextmanager
async def nginx(root: Path, folder: Path) -> AsyncIterator[Process]:
    """nginx with one worker, as it comes but for what a file server is told: sendfile, no log of accesses."""
    port = _free_port()
    config = folder / "nginx.conf"
    config.write_text(f"""
daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
events {{ worker_connections 1024; }}
http {{
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000; client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{ listen 127.0.0.1:{port}; root {root}; }}
}}
""")
    process = _spawn(["nginx", "-c", str(config)])
    try:
        await _listening(port, process)
        yield Process(process.pid, {"http": f"http://127.0.0.1:{port}"})
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, _STOP_SECONDS)


def _spawn(argv: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen([*ON_SERVER_CPU, *argv], stderr=subprocess.DEVNULL)


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


async def _listening(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as sock:
            if sock.connect_ex(("127.0.0.1", port)) == 0:
                return
        await asyncio.sleep(0.05)
    raise RuntimeError("nginx did not come up")
