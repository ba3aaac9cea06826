"""One simulated machine: it netboots, registers, works as its agent does, and reboots when that says so."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import Any
from uuid import UUID

from agent.client import Client
from agent.cmdline import BootWords, parse
from agent.errors import Denied, Refused, ServerAway
from agent.job_protocol import Holder
from agent.loop import Outcome
from agent.messages import Request
from agent.protocol import Registration, put_inventory
from agent.registration import join
from agent.render import Renderer
from agent.session import Session
from tests.fleet.network import Network
from tests.fleet.plan import Plan
from tests.fleet.runner import FleetRunner, RunLog
from tests.fleet.strand import StrandClock, run

INVENTORY = {"cpu": {"sockets": 2, "cores": 32}, "memory_mb": 262144, "disks": [{"name": "sda", "size": 960197124096}]}
_DENIED_SECONDS = 60.0


class SimulatedMachine:
    """`start` switches it on, `pull_plug` off in the middle of whatever it does. It keeps its identity and its disk."""

    def __init__(
        self,
        number: int,
        network: Network,
        plan: Plan,
        renderer: Renderer,
        random: Random,
        clock: StrandClock,
        *,
        once: bool = False,
        log: RunLog | None = None,
        note: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.number = number
        self.mac = f"52:54:{number >> 24 & 255:02x}:{number >> 16 & 255:02x}:{number >> 8 & 255:02x}:{number & 255:02x}"
        self.known: Registration | None = None
        self.runs: Counter[str] = Counter()
        self.boots = 0
        self._network = network
        self._plan = plan
        self._renderer = renderer
        self._random = random
        self._clock = clock
        self._once = once
        self._log = log or RunLog()
        self._note = note
        self._bootenv = ""
        self._boot_id = ""
        self._task: asyncio.Task[None] | None = None

    @property
    def is_on(self) -> bool:
        """Whether an agent runs, or the machine boots."""
        return self._task is not None and not self._task.done()

    def start(self) -> asyncio.Task[None]:
        """Power on."""
        self._task = asyncio.create_task(run(self._live), name=f"machine {self.number}")
        return self._task

    async def pull_plug(self) -> None:
        """Power off, whatever it is doing."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def resume(self, known: Registration, bootenv: str) -> Outcome:
        """Come up as a machine that has registered before; ends when its agent does."""
        self.known, self._bootenv, self._boot_id = known, bootenv, self._word()
        return await run(self._work, known, bootenv)

    def restart_agent(self, registration: Registration, bootenv: str) -> asyncio.Task[None]:
        """Another agent process on the same boot, as after a crash of the first; or beside it, with its identity."""
        return asyncio.create_task(run(self._work, registration, bootenv))

    def another_agent(self) -> asyncio.Task[None]:
        """A second agent process beside the first, in the same boot."""
        assert self.known is not None
        return self.restart_agent(self.known, self._bootenv)

    def _live(self) -> None:
        while True:
            outcome = self._boot()
            if outcome is Outcome.DENIED:
                self._clock.sleep(_DENIED_SECONDS)
            elif outcome is not Outcome.REBOOT:
                return

    def _boot(self) -> Outcome:
        """From power-on to the end of a session."""
        self.boots += 1
        self._boot_id = self._word()
        words = self._fetch_script()
        try:
            if words.ticket:
                self.known, self._bootenv = self._register(words), words.bootenv
            else:
                self._bootenv = "local"
            if self.known is None:
                return Outcome.DENIED
            return self._work(self.known, self._bootenv)
        except Denied:
            return Outcome.DENIED

    def _fetch_script(self) -> BootWords:
        """What iPXE does. Without a kernel line the machine boots its disk."""
        request = Request("GET", f"/boot/{self.mac.replace(':', '-')}.ipxe")
        while True:
            with suppress(ServerAway):
                reply = self._network.send(request)
                if reply.status == 200:
                    break
            self._clock.sleep(1.0)
        kernel = [line for line in reply.body.decode().splitlines() if line.startswith("kernel ")]
        return parse(kernel[0]) if kernel else BootWords()

    def _register(self, words: BootWords) -> Registration:
        card: dict[str, Any] = {
            "ticket": words.ticket,
            "macs": [words.mac],
            "arch": "amd64",
            "firmware": "uefi",
            "bootenv": words.bootenv,
            "hostname": f"fleet-{self.number}",
            "address": "",
            "identity": {"serial": f"FLEET{self.number:06}", "dmi_uuid": str(UUID(int=self.number + (1 << 100)))},
        }
        return join(self._client(""), self._clock, card, self._network.url, self._word(), self._note)

    def _client(self, token: str) -> Client:
        return Client(self._network, self._clock, self._random.random, self._note, token)

    def _word(self) -> str:
        return f"{self._random.getrandbits(64):016x}"

    def _work(self, known: Registration, bootenv: str) -> Outcome:
        client = self._client(known.token)
        holder = Holder(self._boot_id, self._word())
        runner = FleetRunner(
            client,
            self._clock,
            self._renderer,
            self._random.random,
            known.machine,
            self.number,
            holder,
            self._plan,
            self.runs,
            self._log,
        )
        session = Session(client, runner, self._clock, known.machine, holder, self._word, self._note)
        greeting = {
            **holder.as_json(),
            "bootenv": bootenv,
            "version": "fleet",
            "arch": "amd64",
            "hostname": f"fleet-{self.number}",
            "addresses": [],
            "capabilities": [],
        }
        if not session.greet(greeting):
            return Outcome.DENIED
        with suppress(Refused, ServerAway):
            client.call(put_inventory(known.machine, {**INVENTORY, "boot": self._boot_id}), tries=3)
        return session.work(bootenv, self._once)
