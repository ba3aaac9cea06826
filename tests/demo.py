"""`make demo`: a virtual rack of two machines, walked through the whole main job while you watch in the browser.

Everything lives in a network namespace and in build/demo; Ctrl-C ends all of it.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
import signal
import sys
import time
from typing import Any

from tests.journey import REPOSITORY, Site, deploy_by_map, deploy_by_workflow, discover, prepare, two_machines
from tests.rack.rack import RackMachine

FOLDER = REPOSITORY / "build" / "demo"
UI_PORT = 8092


class Demo:
    """The walk, told line by line."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._begun = time.monotonic()

    def tell(self, text: str) -> None:
        """One line with the time since the start."""
        print(f"{time.monotonic() - self._begun:6.0f} s  {text}", flush=True)

    async def run(self) -> None:
        """Until both machines run their installed system, then until Ctrl-C."""
        async with self._site.up():
            self.tell(f"the server is up: {self._site.url}   log in as admin with password {self._site.password}")
            self.tell("two machines that nobody knows are switched on over IPMI; watch them appear in the browser")
            async with asyncio.TaskGroup() as group:
                group.create_task(self._walk(self._site.machines["bios1"], deploy_by_workflow, "workflow deploy"))
                group.create_task(self._walk(self._site.machines["uefi1"], deploy_by_map, "the change-stage map"))
            self.tell("both run the system that was written to their disks; try power, workflows and logs in the UI")
            self.tell("Ctrl-C ends the demo and everything it started")
            await asyncio.Event().wait()

    async def _walk(self, machine: RackMachine, deploy: Any, how: str) -> None:
        site = self._site
        seen = await discover(site, machine)
        self.tell(f"{machine.name}: discovered as {seen['name']}, {_summary(seen)}")
        record = await prepare(site, machine, await site.call("GET", f"/api/v1/machines/{seen['id']}"))
        self.tell(f"{machine.name}: deploying Debian 12 by {how}")
        done = await deploy(site, machine, record)
        self.tell(f"{machine.name}: complete; its agent says it is {done['agent']['hostname']}, booted from its disk")


def _summary(machine: dict[str, Any]) -> str:
    return f"{machine['firmware']} firmware, {len(machine['macs'])} network card, address {machine['address']}"


async def _until_interrupted(work: Any) -> None:
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        print("\nending the machines, the server and their network", flush=True)


def main() -> int:
    """Run the demo; 1 when it could not be shown."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    try:
        site = Site(FOLDER, secrets.token_urlsafe(9), two_machines(), ui_port=UI_PORT)
    except OSError as error:
        print(f"127.0.0.1:{UI_PORT} cannot be had for the UI ({error.strerror}): end what uses it", file=sys.stderr)
        return 1
    asyncio.run(_until_interrupted(Demo(site).run()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
