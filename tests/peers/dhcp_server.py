"""Our DHCP service alone, on port 67 of the network namespace that it is started in, until killed.

python -m tests.peers.dhcp_server DATABASE [SUBNETS]

SUBNETS is a JSON list of subnets to serve instead of the usual one; then each event is told in a line on stdout.
"""

import asyncio
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from msgspec import json

from provisioner.bus import Bus
from provisioner.conductor.addresses import Addresses
from provisioner.conductor.boot_choices import BootChoices
from provisioner.conductor.ledger import Ledger
from provisioner.events import Event
from provisioner.model.addresses import Subnet
from provisioner.model.content import BootArch, Bootenv
from provisioner.params import Params
from provisioner.raw_sockets import raw
from provisioner.services.dhcp import DhcpService, open_socket
from provisioner.services.frames import Frames
from provisioner.services.probes import Prober
from provisioner.services.proxy_dhcp import PORT, ProxyDhcpService
from provisioner.store.database import Database

SUBNET = Subnet(
    name="peers",
    cidr="10.77.0.0/24",
    pool_start="10.77.0.10",
    pool_end="10.77.0.99",
    gateway="10.77.0.1",
    dns_servers=("10.77.0.1",),
    domain="peers.test",
    options={"ntp-servers": "10.77.0.3"},
)
DISCOVERY = Bootenv(name="discovery", arch={"amd64": BootArch(kernel="vmlinuz")})


class TalkingBus(Bus):
    """Tells each event in a line: kind, MAC, address."""

    def publish_all(self, events: Iterable[Event]) -> None:
        for event in events:
            print(event.kind, event.mac, event.key, flush=True)


async def main(path: Path, bus: Bus, subnets: Sequence[Subnet]) -> None:
    """Serve for ever."""
    database = Database(path)
    database.open()
    database.start()
    ledger = Ledger(database, bus, lambda: datetime.now(UTC))
    ledger.load()
    tx = ledger.transaction()
    for subnet in subnets:
        tx.put(subnet)
    await tx.commit()
    addresses = Addresses(ledger, BootChoices(ledger, lambda: Params({}), lambda machine: DISCOVERY))
    addresses.follow()
    sockets = raw()
    assert sockets is not None
    service = DhcpService(open_socket(), addresses, frames=Frames(sockets.frames))
    async with asyncio.TaskGroup() as group:
        group.create_task(service.run())
        group.create_task(ProxyDhcpService(open_socket(port=PORT), addresses.proxy).run())
        group.create_task(Prober(addresses.conflicts, sockets, service.resume, 1).run())
        print("ready", flush=True)


if __name__ == "__main__":
    path, *more = sys.argv[1:]
    if more:
        asyncio.run(main(Path(path), TalkingBus(), json.decode(more[0], type=list[Subnet])))
    else:
        asyncio.run(main(Path(path), Bus(), [SUBNET]))
