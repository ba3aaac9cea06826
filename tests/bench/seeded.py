"""A data folder as a large site has it after a while: thousands of known machines, made without booting each."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from agent.protocol import Registration
from provisioner.access import digest
from provisioner.bus import Bus
from provisioner.conductor.ledger import Ledger
from provisioner.model.access import Token, TokenPurpose
from provisioner.model.machines import AgentInfo, Identity, Machine
from provisioner.store.database import Database

COLOURS = ("red", "green", "blue", "black")
_IN_ONE_COMMIT = 500


@dataclass(frozen=True)
class Seed:
    """A machine that is known, and the secret of its agent."""

    number: int
    registration: Registration


async def seed(data_dir: Path, count: int) -> list[Seed]:
    """Machines that have done workflow `discover`, each with an inventory, params and the token of its agent."""
    database = Database(data_dir / "provisioner.db")
    database.open()
    database.start()
    ledger = Ledger(database, Bus(), lambda: datetime.now(UTC))
    ledger.load()
    seeds: list[Seed] = []
    while len(seeds) < count:
        tx = ledger.transaction(by="bench")
        for number in range(len(seeds), min(len(seeds) + _IN_ONE_COMMIT, count)):
            machine = _machine(number, tx.now)
            secret = f"secret-{number}"
            tx.put(machine)
            tx.put(Token(digest=digest(secret), purpose=TokenPurpose.MACHINE, subject=machine.id, created_at=tx.now))
            tx.event("machine.create", machine=machine.id, key=machine.name)
            seeds.append(Seed(number, Registration(machine.id, machine.name, secret, "")))
        await tx.commit()
    await database.close()
    return seeds


def _machine(number: int, now: datetime) -> Machine:
    disks = [{"name": f"sd{letter}", "size": 960197124096, "serial": f"S{number:06}{letter}"} for letter in "abcdefgh"]
    nics = [
        {"name": f"eth{port}", "mac": f"52:55:{port:02x}:00:{number >> 8:02x}:{number & 255:02x}"} for port in range(4)
    ]
    tasks = ("stage:discover", "bootenv:discovery", "bmc-detect", "inventory")
    return Machine(
        id=str(UUID(int=number + (1 << 120))),
        name=f"node-{number:05}",
        created_at=now,
        updated_at=now,
        macs=(f"52:54:00:00:{number >> 8:02x}:{number & 255:02x}",),
        address=f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}",
        firmware="uefi",
        identity=Identity(serial=f"SN{number:06}", dmi_uuid=str(UUID(int=number + (1 << 100)))),
        inventory={"cpu": {"model": "a processor", "sockets": 2, "cores": 64}, "disks": disks, "nics": nics},
        params={"fleet-colour": COLOURS[number % len(COLOURS)], "hostname": f"node-{number:05}.example.net"},
        meta={"rack": f"r{number // 40}", "place": str(number % 40)},
        workflow="discover",
        stage="discover",
        bootenv="discovery",
        tasks=tasks,
        current_task=len(tasks),
        runnable=True,
        agent=AgentInfo(boot_id="before", bootenv="discovery", hello_at=now),
    )
