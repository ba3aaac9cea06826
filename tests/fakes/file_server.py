"""A server as task scripts see it: one machine, files with ranges, and faults on demand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

MACHINE_ID = "11111111-2222-3333-4444-555555555555"
TOKEN = "machine-token"


@dataclass
class FileServer:
    """What it answers. `cut_after` ends the first `cuts` answers of large files after so many bytes.

    `next_machine` is what the machine is from the second question on.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=lambda: {"erase_grants": []})
    next_machine: dict[str, Any] | None = None
    cut_after: int = 0
    cuts: int = 0
    ranges: bool = True
    statuses: list[int] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    url: str = ""

    @contextmanager
    def running(self) -> Iterator[FileServer]:
        """Answer on a port of the loopback until the block ends."""
        httpd = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        thread = Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        self.url = f"http://127.0.0.1:{httpd.server_port}"
        try:
            yield self
        finally:
            httpd.shutdown()
            httpd.server_close()
            thread.join()


def _handler(server: FileServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            server.requests.append(self.path)

        def do_GET(self) -> None:
            if server.statuses:
                self.send_error(server.statuses.pop(0))
            elif self.path == f"/api/v1/machines/{MACHINE_ID}":
                self._machine()
            elif self.path in server.files:
                self._file(server.files[self.path])
            else:
                self.send_error(404)

        def _machine(self) -> None:
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                self.send_error(401)
                return
            self._answer(200, json.dumps(server.machine).encode())
            server.machine = server.next_machine or server.machine

        def _file(self, data: bytes) -> None:
            asked = self.headers.get("Range", "")
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and server.ranges else 0
            rest, length = data[start:], len(data) - start
            if server.cuts and length > server.cut_after:
                server.cuts -= 1
                rest = rest[: server.cut_after]
            self._answer(206 if start else 200, rest, length)

        def _answer(self, status: int, body: bytes, length: int | None = None) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body) if length is None else length))
            self.end_headers()
            self.wfile.write(body)

    return Handler
