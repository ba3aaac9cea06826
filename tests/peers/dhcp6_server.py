"""Our DHCPv6 service and router advertisements alone, in the network namespace that this is started in, until killed.

python -m tests.peers.dhcp6_server DATABASE LEASE_SECONDS
"""

import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path

from provisioner.bus import Bus
from provisioner.conductor.addresses6 import Addresses6
from provisioner.conductor.ledger import Ledger
from provisioner.model.addresses import Subnet
from provisioner.netboot import NO_BOOT
from provisioner.raw_sockets import icmp6
from provisioner.services.dhcp6 import Dhcp6Service, open_socket
from provisioner.services.router_advertisements import RouterAdvertisements
from provisioner.store.database import Database

SUBNET = Subnet(
    name="peers",
    cidr="fd00:77::/64",
    pool_start="fd00:77::100",
    pool_end="fd00:77::ffff:ffff:ffff",
    dns_servers=("fd00:77::53",),
    domain="peers.test",
    router_advertisements=True,
)


class NoChoices:
    """Nobody netboots here."""

    def choose(self, client, machine, server, override=""):
        """Nothing."""
        return NO_BOOT


async def main(path: Path, lease_seconds: int) -> None:
    """Serve for ever."""
    database = Database(path)
    database.open()
    database.start()
    ledger = Ledger(database, Bus(), lambda: datetime.now(UTC))
    ledger.load()
    tx = ledger.transaction()
    values = {name: getattr(SUBNET, name) for name in SUBNET.__struct_fields__}
    tx.put(Subnet(**values | {"lease_seconds": lease_seconds}))
    await tx.commit()
    addresses = Addresses6(ledger, NoChoices(), b"\0\4" + bytes(range(16)))
    addresses.follow()
    advertising = RouterAdvertisements(icmp6(), lambda: ledger.read_all(Subnet))
    service = Dhcp6Service(open_socket(), addresses)
    print("ready", flush=True)
    await asyncio.gather(service.run(), advertising.run())


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
