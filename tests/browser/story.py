"""Tells the conductor what real machines would have told it, at any moment of the past: for demo states and tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from msgspec.structs import replace

from provisioner.access import Principal, Who
from provisioner.conductor.assets import JobAssets
from provisioner.conductor.jobs import Jobs
from provisioner.conductor.ledger import Ledger
from provisioner.conductor.machine_changes import MachineChange
from provisioner.conductor.machines import Machines
from provisioner.conductor.orders import Where, WorkOrder
from provisioner.conductor.registration import Hello, Registration, Registrations
from provisioner.conductor.tokens import Tokens
from provisioner.lifecycle import Outcome
from provisioner.model.addresses import Lease, LeaseState
from provisioner.model.machines import ExitState, Identity, Job, JobState, Machine, RenderedFile

OPERATOR = Principal(Who.USER, "admin", "admin")
_WHERE = Where("http://10.77.0.1:8091", "10.77.0.1")


class StoryClock:
    """A clock that can be set; `run` lets it go on with real time from where it stands."""

    def __init__(self, moment: datetime) -> None:
        self._moment = moment
        self._real: datetime | None = None

    def __call__(self) -> datetime:
        if self._real is None:
            return self._moment
        return self._moment + (datetime.now(UTC) - self._real)

    def set(self, moment: datetime) -> None:
        """Stand still at this moment."""
        self._moment = moment
        self._real = None

    def pass_seconds(self, seconds: float) -> None:
        """Go on by so much."""
        self._moment += timedelta(seconds=seconds)

    def run(self) -> None:
        """Go on with real time from now on."""
        self._real = datetime.now(UTC)


class Story:
    """One machine's life, told step by step; every step lets some time pass."""

    def __init__(
        self,
        clock: StoryClock,
        ledger: Ledger,
        machines: Machines,
        registrations: Registrations,
        jobs: Jobs,
        tokens: Tokens,
        assets: JobAssets,
        mac: str,
        address: str,
    ) -> None:
        self._clock = clock
        self._ledger = ledger
        self._machines = machines
        self._registrations = registrations
        self._jobs = jobs
        self._tokens = tokens
        self._assets = assets
        self.mac = mac
        self.address = address
        self.id = ""
        self.boot_id = ""

    @property
    def machine(self) -> Machine:
        """The machine as it stands."""
        found = self._ledger.get(Machine, self.id)
        assert found is not None
        return found

    @property
    def job(self) -> Job:
        """Its current job."""
        found = self._ledger.get(Job, self.machine.current_job)
        assert found is not None
        return found

    @property
    def _principal(self) -> Principal:
        return Principal(Who.MACHINE, self.id)

    async def tell(self, kind: str, key: str = "", seconds: float = 0.1, /, *, by: str = "", **data: Any) -> None:
        """Something happened, so many seconds after what happened before."""
        self._clock.pass_seconds(seconds)
        tx = self._ledger.transaction(by=by)
        tx.event(kind, machine=self.id, mac=self.mac, key=key, **data)
        await tx.commit()

    async def dhcp(self, firmware: str = "", boot_file: str = "", seconds: float = 1.0) -> None:
        """It asks for an address and gets it."""
        known = {"firmware": firmware} if firmware else {"hostname": self.machine.name if self.id else "provisioner"}
        file = {"boot_file": boot_file} if boot_file else {}
        network = {"interface": "eth1", "server": "10.77.0.1", "subnet": "rack", "lease_seconds": 3600}
        given = {**known, **network, **file}
        await self.tell("dhcp.offer", self.address, seconds, request="DISCOVER", **given)
        self._clock.pass_seconds(0.9)
        tx = self._ledger.transaction()
        expires = tx.now + timedelta(hours=1)
        tx.put(Lease(address=self.address, mac=self.mac, state=LeaseState.ACKED, expires_at=expires, subnet="rack"))
        tx.event("dhcp.ack", machine=self.id, mac=self.mac, key=self.address, request="REQUEST", **given)
        await tx.commit()

    async def netboot(self, bootenv: str = "discovery", firmware: str = "UEFI x64") -> None:
        """From the firmware's first packet to the kernel's start."""
        loader = "ipxe/snponly.efi" if "UEFI" in firmware else "ipxe/undionly.kpxe"
        script = self.mac.replace(":", "-") + ".ipxe"
        await self.dhcp(firmware, loader, 2.4)
        await self.tell("tftp.read", loader, 0.6, bytes=287_744, seconds=0.412, client=self.address)
        await self.dhcp(f"iPXE on {firmware.partition(' ')[0]}", script, 1.8)
        await self.tell("boot.render", bootenv, 0.2, protocol="tftp", bytes=742)
        await self.tell("http.read", "discovery/vmlinuz", 0.3, bytes=8_134_592, seconds=0.181, client=self.address)
        await self.tell("http.read", "discovery/initrd.img", 1.6, bytes=71_303_168, seconds=1.402, client=self.address)

    async def come_up(self, bootenv: str = "discovery", hostname: str = "", **facts: Any) -> None:
        """The system starts; an unknown machine registers, every one says hello."""
        await self.dhcp(seconds=6.2)
        await self.tell("http.read", "agent.pyz", 0.8, bytes=283_112, seconds=0.02, client=self.address)
        if bootenv != "local":
            await self._register(bootenv, hostname, facts)
        self.boot_id = str(uuid4())
        said = Hello(
            boot_id=self.boot_id,
            bootenv=bootenv,
            version="0.1.0",
            arch="amd64",
            hostname=hostname or self.machine.name,
            addresses=(self.address,),
            capabilities=("script",),
        )
        self._clock.pass_seconds(0.3)
        await self._registrations.hello(self.id, said, self._principal)

    async def _register(self, bootenv: str, hostname: str, facts: dict[str, Any]) -> None:
        self._clock.pass_seconds(1.1)
        ticket = self._tokens.issue_ticket(self.mac)
        asked = Registration(
            ticket=ticket,
            macs=(self.mac, *facts.get("more_macs", ())),
            firmware=facts.get("firmware", "uefi"),
            bootenv=bootenv,
            hostname=hostname,
            address=self.address,
            identity=facts.get(
                "identity", Identity(dmi_uuid=str(uuid4()), serial=f"SN{self.mac[-5:].replace(':', '')}")
            ),
        )
        self.id = (await self._registrations.register(asked, self.address)).machine.id

    async def rename(self, name: str) -> None:
        """An operator gives it a name."""
        await self._machines.change(self.id, MachineChange(name=name), OPERATOR)

    async def assign(self, workflow: str, seconds: float = 20) -> None:
        """An operator gives it work."""
        self._clock.pass_seconds(seconds)
        await self._machines.change(self.id, MachineChange(workflow=workflow), OPERATOR)

    async def change(self, seconds: float = 5, **fields: Any) -> None:
        """An operator changes it."""
        self._clock.pass_seconds(seconds)
        await self._machines.change(self.id, MachineChange(**fields), OPERATOR)

    async def grant(self, disk: str, hours: float = 4) -> None:
        """An operator lets a disk be erased."""
        await self._machines.grant_erase(self.id, disk, hours, OPERATOR)

    async def put(self, **fields: Any) -> None:
        """Set fields that nobody sets from outside, such as power."""
        tx = self._ledger.transaction()
        tx.put(replace(self.machine, **fields))
        await tx.commit()

    async def inventory(self, inventory: dict[str, Any]) -> None:
        """It reports what it is made of."""
        await self._registrations.report_inventory(self.id, inventory, self._principal)

    async def claim(self, seconds: float = 0.4) -> WorkOrder | None:
        """Its agent asks for work until it gets a job or there is none."""
        self._clock.pass_seconds(seconds)
        while not self.machine.done:
            order = await self._jobs.claim(self.id, self.boot_id, _WHERE, self._principal)
            if order is not None or not self.machine.runnable:
                return order
        return None

    async def begin(self, files: tuple[RenderedFile, ...] = ()) -> Job | None:
        """Its agent claims a job, reports what it rendered and starts."""
        order = await self.claim()
        if order is None:
            return None
        await self._jobs.report_actions(order.job.id, files or rendered(order), self._principal)
        return await self._jobs.start(order.job.id, self.boot_id, "", self._principal)

    async def write(self, text: str, seconds: float = 0.2) -> int:
        """The running job writes to its log."""
        self._clock.pass_seconds(seconds)
        offset = await self._jobs.append_log(self.job.id, 0, b"")
        return await self._jobs.append_log(self.job.id, offset, text.encode())

    async def hand_in(self, name: str, data: bytes, seconds: float = 0.2) -> None:
        """The running job hands in a file."""
        self._clock.pass_seconds(seconds)

        async def pieces() -> AsyncIterator[bytes]:
            yield data

        await self._assets.receive(self.job.id, name, len(data), pieces(), self._principal)

    async def end(
        self,
        state: JobState = JobState.FINISHED,
        exit_state: ExitState = ExitState.COMPLETE,
        code: int | None = 0,
        message: str = "",
        seconds: float = 0.2,
    ) -> None:
        """The running job ends."""
        self._clock.pass_seconds(seconds)
        outcome = Outcome(state, exit_state, code, message)
        await self._jobs.end(self.job.id, self.job.instance, outcome, self._principal)

    async def run(self, log: str, seconds: float = 1.0) -> bool:
        """One job from claim to its good end; False when there was none."""
        if await self.begin() is None:
            return False
        lines = log.splitlines(keepends=True) or ["done\n"]
        for line in lines:
            await self.write(line, seconds / len(lines))
        await self.end()
        return True

    async def reboot(self, next_boot: str = "pxe") -> None:
        """Its agent reboots it, telling the BMC first what to boot."""
        await self.tell("agent.reboot", self.machine.bootenv, 0.3, by=f"machine:{self.id}", next_boot=next_boot)
        await self.power(f"next-boot-{next_boot}", f"boots from {next_boot} next time")

    async def power(self, action: str, message: str, state: str = "on", by: str = "server") -> None:
        """A power action was asked for and done."""
        await self.tell("power.request", action, 0.2, by=by)
        await self.tell("power.done", action, 1.4, by=by, state=state, message=message)
        await self.put(power=state)


def rendered(order: WorkOrder) -> tuple[RenderedFile, ...]:
    """What an agent would say it rendered; the sources stand in for it."""
    return tuple(RenderedFile(file.name, file.source, file.path, file.mode) for file in order.files)
