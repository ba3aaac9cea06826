"""Which IPv6 address is next, from pools that cannot be walked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from provisioner.clients6 import Client6
from provisioner.conductor.lease_book6 import LeaseBook6
from provisioner.model.addresses import Lease, LeaseState, Picker, Reservation, Subnet
from provisioner.model.machines import Identity, Machine
from tests.dhcp6_messages import mac, uuid_duid
from tests.parts import opened

NOW = datetime(2026, 1, 1, tzinfo=UTC)
BIG = Subnet(name="big", cidr="fd00:1::/64", pool_start="fd00:1::10", pool_end="fd00:1::ffff:ffff:ffff:ffff")
SMALL = Subnet(name="small", cidr="fd00:2::/64", pool_start="fd00:2::1", pool_end="fd00:2::3", gateway="fd00:2::2")
WHO = Client6(uuid_duid(1), mac(1), exact=True)


def lease(address, number=1, state=LeaseState.ACKED, seconds=3600.0, iaid="00000001"):
    return Lease(
        address=address,
        mac=mac(number),
        state=state,
        expires_at=NOW + timedelta(seconds=seconds),
        client_id=f"{uuid_duid(number).hex()}/{iaid}",
    )


@pytest.fixture
async def world(tmp_path):
    async with opened(tmp_path) as parts:
        world = World(parts)
        await world.put(BIG, SMALL)
        world.book.follow()
        yield world


class World:
    def __init__(self, parts):
        self.parts = parts
        self.book = LeaseBook6(parts.ledger)

    async def put(self, *values):
        tx = self.parts.ledger.transaction()
        for each in values:
            tx.put(each)
        await tx.commit()

    async def delete(self, cls, key):
        tx = self.parts.ledger.transaction()
        tx.delete(cls, key)
        await tx.commit()

    def free(self, address="fd00:1::1", picker=Picker.NEXT_FREE, now=NOW, without=()):
        [network] = self.book.networks([address])
        return self.book.free_address(network, picker, now, without, WHO)


async def test_addresses_come_in_order_and_looking_takes_none(world):
    assert world.free() == world.free() == "fd00:1::10"
    world.book.put(lease("fd00:1::10"))
    assert world.free() == "fd00:1::11"
    assert world.free(without={"fd00:1::11"}) == "fd00:1::12"


async def test_an_offer_takes_an_address_until_it_ends(world):
    world.book.hold(lease("fd00:1::10", state=LeaseState.OFFERED, seconds=60))
    assert world.free() == "fd00:1::11"
    world.book.prune(NOW + timedelta(seconds=59))
    assert world.free() == "fd00:1::11"
    world.book.prune(NOW + timedelta(seconds=60))
    assert world.free() == "fd00:1::10"


async def test_an_offer_renewed_is_not_pruned_with_the_first(world):
    world.book.hold(lease("fd00:1::10", state=LeaseState.OFFERED, seconds=60))
    world.book.hold(lease("fd00:1::10", state=LeaseState.OFFERED, seconds=90))
    world.book.prune(NOW + timedelta(seconds=60))
    assert world.free() == "fd00:1::11"


async def test_barred_and_reserved_addresses_are_nobodys(world):
    await world.put(Reservation(address="fd00:2::1", mac=mac(9)))
    assert world.free("fd00:2::9") == "fd00:2::3"
    await world.delete(Reservation, "fd00:2::1")
    assert world.free("fd00:2::9") == "fd00:2::1"


async def test_the_longest_expired_comes_back_first(world):
    world.book.put(lease("fd00:2::1", 1, LeaseState.EXPIRED, -10))
    world.book.put(lease("fd00:2::3", 2, LeaseState.EXPIRED, -20))
    assert world.free("fd00:2::9") == ""
    assert world.free("fd00:2::9", Picker.MOST_EXPIRED) == "fd00:2::3"
    assert world.free("fd00:2::9", Picker.MOST_EXPIRED, without={"fd00:2::3"}) == "fd00:2::1"
    world.book.put(lease("fd00:2::3", 3))
    assert world.free("fd00:2::9", Picker.MOST_EXPIRED) == "fd00:2::1"


async def test_a_lease_renewed_before_its_time_is_not_taken_for_expired(world):
    world.book.put(lease("fd00:2::1", seconds=10))
    world.book.put(lease("fd00:2::1", seconds=1000))
    assert world.free("fd00:2::9", Picker.MOST_EXPIRED, NOW + timedelta(seconds=500)) == ""
    assert world.free("fd00:2::9", Picker.MOST_EXPIRED, NOW + timedelta(seconds=1000)) == "fd00:2::1"


async def test_an_address_that_was_renewed_is_as_old_as_its_last_lease(world):
    assert world.free("fd00:2::1") == "fd00:2::1"
    for address, seconds in (("fd00:2::1", 100), ("fd00:2::3", 200), ("fd00:2::1", 300)):
        await world.put(lease(address, seconds=seconds))
    later = NOW + timedelta(seconds=500)
    assert world.free("fd00:2::1", Picker.MOST_EXPIRED, later) == "fd00:2::3"
    assert world.free("fd00:2::1", Picker.MOST_EXPIRED, later, {"fd00:2::3"}) == "fd00:2::1"


async def test_an_expired_address_on_offer_is_not_given_to_another_until_that_ends(world):
    world.book.put(lease("fd00:2::1", 1, LeaseState.EXPIRED, -10))
    world.book.hold(lease("fd00:2::1", 2, LeaseState.OFFERED, 60))
    assert world.free("fd00:2::9", Picker.MOST_EXPIRED) == ""
    world.book.prune(NOW + timedelta(seconds=61))
    assert world.free("fd00:2::9", Picker.MOST_EXPIRED) == "fd00:2::1"


async def test_a_deleted_lease_gives_its_address_back(world):
    await world.put(lease("fd00:1::10"), lease("fd00:1::11", 2))
    assert world.free() == "fd00:1::12"
    await world.delete(Lease, "fd00:1::10")
    assert world.free() == "fd00:1::10"
    assert world.book.leases_of(WHO) == []


async def test_leases_are_known_by_holder(world):
    world.book.put(lease("fd00:1::10"))
    world.book.hold(lease("fd00:1::20", state=LeaseState.OFFERED))
    assert {each.address for each in world.book.leases_of(WHO)} == {"fd00:1::10", "fd00:1::20"}
    world.book.put(lease("fd00:1::10", 2))
    world.book.withdraw("fd00:1::20")
    assert world.book.leases_of(WHO) == []
    assert [each.address for each in world.book.leases_of(Client6(b"", mac(2)))] == ["fd00:1::10"]


async def test_a_client_without_a_mac_is_known_by_its_duid(world):
    nameless = replace(lease("fd00:1::10"), mac="")
    world.book.put(nameless)
    assert world.book.leases_of(Client6(uuid_duid(1))) == [nameless]
    assert world.book.mac_of(uuid_duid(1)) == ""


async def test_a_duid_is_known_by_its_lease_or_as_a_machines_uuid_either_way_round(world):
    world.book.put(lease("fd00:1::10", 4))
    assert world.book.mac_of(uuid_duid(4)) == mac(4)
    uuid = "4c4c4544-0042-3510-8054-b4c04f564433"
    node = Machine(id="n1", name="n1", macs=(mac(5),), created_at=NOW, updated_at=NOW, identity=Identity(dmi_uuid=uuid))
    await world.put(node)
    for text in ("4c4c4544004235108054b4c04f564433", "44454c4c420010358054b4c04f564433"):
        assert world.book.mac_of(b"\0\4" + bytes.fromhex(text)) == mac(5)
    await world.delete(Machine, "n1")
    assert world.book.mac_of(b"\0\4" + bytes.fromhex(uuid.replace("-", ""))) == ""


async def test_leases_of_ipv4_are_none_of_its_business(world):
    await world.put(replace(lease("fd00:1::10"), address="10.0.0.9"))
    assert world.book.leases_of(WHO) == []
    await world.delete(Lease, "10.0.0.9")


async def test_a_changed_subnet_counts_anew(world):
    world.book.put(lease("fd00:1::10"))
    await world.put(replace(BIG, pool_start="fd00:1::9"), Subnet(name="four", cidr="10.0.0.0/24"))
    assert world.free() == "fd00:1::9"
    await world.put(replace(BIG, enabled=False))
    assert world.book.networks(["fd00:1::1"]) == ()


async def test_subnets_of_one_link_are_found_together(world):
    await world.put(replace(BIG, shared_network="floor"), replace(SMALL, shared_network="floor"))
    assert [each.subnet.name for each in world.book.networks(["fd00:2::9"])] == ["small", "big"]
