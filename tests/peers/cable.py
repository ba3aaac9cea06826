"""A server of ours and clients that nobody here wrote, each in a namespace of its own, joined by a cable."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Self

from tests.peers.programs import program, root

MAC = "52:54:00:77:01:{:02x}"
# What udhcpc calls when it has learned something.
_SCRIPT = """#!/bin/sh
echo "$1 $ip $router $dns $domain $ntpsrv $lease $siaddr $serverid" >> "{out}"
case "$1" in
bound|renew) {ip} addr replace "$ip/24" dev "$interface" ;;
deconfig) {ip} addr flush dev "$interface" ;;
esac
"""


async def run(*command: str, seconds: float = 30) -> str:
    """What a program prints that must end well and in time."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, stdin=asyncio.subprocess.DEVNULL
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), seconds)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, (command, output.decode())
    return output.decode()


class Cable:
    """The two namespaces; entered it is up, with the server running. `module` is the server as a program."""

    def __init__(self, folder: Path, module: str, *options: str) -> None:
        self.server = f"pv-s{os.getpid()}"
        self.clients = f"pv-c{os.getpid()}"
        self.folder = folder
        self.ip = program("ip", "iproute2")
        self._module = module
        self._options = options
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        root()
        try:
            await self.up()
            await self.start_server()
        except BaseException:
            await self.down()
            raise
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.down()

    async def up(self) -> None:
        """Make the namespaces and the cable, the ends of which are `srv0` and `cli0`."""
        for name in (self.server, self.clients):
            await run(self.ip, "netns", "add", name)
            await run(self.ip, "-n", name, "link", "set", "lo", "up")
        await run(
            self.ip, "-n", self.server, "link", "add", "srv0", "type", "veth", "peer", "name", "cli0",
            "netns", self.clients,
        )  # fmt: skip

    async def down(self) -> None:
        """End the server and remove what `up` made."""
        await self.stop_server()
        there = await run(self.ip, "netns", "list")
        for name in (self.server, self.clients):
            if name in there:
                await run(self.ip, "netns", "delete", name)

    async def inside(self, name: str, *command: str, seconds: float = 30) -> str:
        """Run a program in one of the namespaces."""
        return await run(self.ip, "netns", "exec", name, *command, seconds=seconds)

    async def start_server(self) -> None:
        """Start the server and wait until it says that it is ready."""
        self._process = await asyncio.create_subprocess_exec(
            self.ip, "netns", "exec", self.server, sys.executable, "-m", self._module,
            str(self.folder / "db"), *self._options, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert self._process.stdout is not None
        assert await asyncio.wait_for(self._process.stdout.readline(), 30) == b"ready\n"

    async def stop_server(self) -> None:
        """Kill it, as a power cut would."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            await self._process.wait()
            # asyncio keeps the pipe open otherwise, until the collector complains.
            self._process._transport.close()  # type: ignore[attr-defined]
            self._process = None


class Cable4(Cable):
    """The same with addresses of IPv4, and udhcpc as client, which changes its card."""

    async def up(self) -> None:
        """Make it, with an address for the server."""
        await super().up()
        await run(self.ip, "-n", self.server, "addr", "add", "10.77.0.1/24", "dev", "srv0")
        await run(self.ip, "-n", self.server, "link", "set", "srv0", "up")
        await run(self.ip, "-n", self.clients, "link", "set", "cli0", "up")

    async def card(self, number: int) -> None:
        """Give the client's card the MAC of client `number`."""
        await run(self.ip, "-n", self.clients, "addr", "flush", "dev", "cli0")
        await run(self.ip, "-n", self.clients, "link", "set", "cli0", "address", MAC.format(number))

    async def udhcpc(self, *options: str) -> list[list[str]]:
        """One run of udhcpc: what its script was told, a line for each call."""
        out, script = self.folder / "said", self.folder / "script"
        script.write_text(_SCRIPT.format(out=out, ip=self.ip))
        script.chmod(0o755)
        out.unlink(missing_ok=True)
        await run(
            self.ip, "netns", "exec", self.clients, program("busybox", "busybox"), "udhcpc", "-i", "cli0", "-n", "-q",
            "-f", "-t", "5", "-T", "1", "-s", str(script), *options,
        )  # fmt: skip
        return [line.split() for line in out.read_text().splitlines()]
