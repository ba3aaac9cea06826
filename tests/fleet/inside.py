"""A server in this very process with machines at work: for what can only be arranged from inside, as its clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

from agent.render import Renderer
from provisioner.config import read_config
from provisioner.power.registry import PowerDrivers
from provisioner.server import Server, build
from tests.fleet.journal import Journal
from tests.fleet.machine import SimulatedMachine
from tests.fleet.network import Mishaps, Network
from tests.fleet.operator import Operator
from tests.fleet.plan import Plan
from tests.fleet.runner import RunLog
from tests.fleet.strand import StrandClock

PASSWORD = "only for these tests"
# Agents' seconds are this long.
PACE = 0.05


class WrongClock:
    """The time of day with an error that can be set."""

    def __init__(self) -> None:
        self.error = timedelta(0)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.error


class Inside:
    """The server, its operator, and machines as they are added."""

    def __init__(self, server: Server, network: Network, operator: Operator, seed: int) -> None:
        self.server = server
        self.operator = operator
        self.machines: list[SimulatedMachine] = []
        self.log = RunLog()
        self._network = network
        self._random = Random(seed)
        self._renderer = Renderer()
        self._clock = StrandClock(asyncio.get_running_loop().time, asyncio.sleep, PACE)

    @property
    def journal(self) -> Journal:
        """What the server has acknowledged."""
        return self._network.journal

    def add_machines(self, count: int, plan: Plan) -> None:
        """Switch on so many more machines whose scripts do this."""
        for number in range(len(self.machines), len(self.machines) + count):
            machine = SimulatedMachine(
                number, self._network, plan, self._renderer, self._random, self._clock, log=self.log
            )
            self.machines.append(machine)
            machine.start()

    async def until(self, reached: Callable[[list[dict[str, object]]], bool]) -> None:
        """Wait until this holds of the machines as the API shows them; looks whenever something has happened."""
        with self.server.parts.ledger.bus.subscribe() as subscription:
            while not reached(await self.operator.every("/api/v1/machines")):
                await subscription.arrival()
                subscription.take()

    async def done(self) -> None:
        """Wait until every machine has done all its tasks."""
        count = len(self.machines)
        await self.until(lambda shown: len(shown) == count and all(each["done"] and each["tasks"] for each in shown))


@asynccontextmanager
async def inside(
    folder: Path, clock: Callable[[], datetime] = lambda: datetime.now(UTC), mishaps: Mishaps = Mishaps(), seed: int = 1
) -> AsyncIterator[Inside]:
    """A server on its data in `folder`, up; it ends cleanly and its machines lose power first."""
    flags = {f"listen.{name}": "127.0.0.1:0" for name in ("http", "ui")}
    flags |= {
        "listen.dhcp": "off",
        "listen.tftp": "off",
        "data_dir": str(folder),
        "machines.default_workflow": "",
    }
    environment = {"PROVISIONER_ADMIN_PASSWORD": PASSWORD}
    server = build(read_config(flags, environment), {}, version="test", drivers=PowerDrivers({}), clock=clock)
    task = asyncio.create_task(server.run(lambda line: None, {}))
    network = Network(f"http://127.0.0.1:{server.port('http')}", Journal(), Random(seed), mishaps)
    async with network, Operator(f"http://127.0.0.1:{server.port('ui')}", PASSWORD) as operator:
        made = Inside(server, network, operator, seed)
        try:
            # Connections wait in the socket until the server takes them.
            await operator.log_in()
            yield made
        finally:
            for machine in made.machines:
                await machine.pull_plug()
            server.stop()
            await task
