"""The doctor gathers its facts from the timelines, the pools, what was dropped and who answered a probe."""

from __future__ import annotations

from datetime import timedelta

from msgspec.structs import replace

from provisioner.conductor.doctor import Doctor
from provisioner.findings import ForeignServer, Unheard
from provisioner.model.addresses import Lease, LeaseState, Reservation, Subnet
from provisioner.model.machines import Machine
from tests.parts import MAC, OPERATOR, START

RACK = Subnet(name="rack", cidr="10.0.0.0/24", pool_start="10.0.0.10", pool_end="10.0.0.19")


def doctor(parts, unheard=(), foreign=()):
    async def probe():
        return foreign

    return Doctor(parts.ledger, lambda: unheard, probe, lambda: frozenset({"10.0.0.1"}))


async def save(parts, *objects, **event):
    tx = parts.ledger.transaction()
    for each in objects:
        tx.put(each)
    if event:
        tx.event(event.pop("kind"), mac=MAC, key=event.pop("key", ""), **event)
    await tx.commit()


async def codes(who):
    return [each.code for each in (await who.examine()).items]


async def test_a_quiet_server_has_nothing_wrong(parts):
    assert await codes(doctor(parts)) == []


async def test_timelines_are_read(parts):
    await save(parts, kind="tftp.error", key="pxelinux.0", message="there is no file 'pxelinux.0'")
    found = await doctor(parts).examine()
    assert [(each.code, each.macs) for each in found.items] == [("file-missing", (MAC,))]
    assert found.events == 1


async def test_what_is_older_than_a_day_is_history(parts):
    await save(parts, kind="tftp.error", key="a", message="there is no file 'a'")
    parts.clock.now = START + timedelta(hours=25)
    assert await codes(doctor(parts)) == []


async def test_what_was_dropped_is_heard(parts):
    unheard = (Unheard("no enabled subnet covers the client", 3, "10.9.0.1", "eth0", "10.9.0.1"),)
    assert await codes(doctor(parts, unheard)) == ["relay-mismatch"]


async def test_what_a_subnet_covers_by_now_is_mended(parts):
    unheard = (Unheard("no enabled subnet covers the client", 3, "10.9.0.1", "eth0"),)
    await parts.networks.put_subnet(Subnet(name="nine", cidr="10.9.0.0/24", enabled=False), OPERATOR)
    assert await codes(doctor(parts, unheard)) == ["network-not-covered"]
    await parts.networks.put_subnet(Subnet(name="nine", cidr="10.9.0.0/24"), OPERATOR)
    assert await codes(doctor(parts, unheard)) == []


async def test_who_answers_a_probe_is_kept(parts):
    who = doctor(parts, foreign=(ForeignServer("10.0.0.250", "eth0"),))
    assert await codes(who) == []
    await who.probe()
    found = await who.examine()
    assert [each.subject for each in found.items] == ["10.0.0.250"]
    assert found.probed_at == START


async def test_running_leases_fill_a_pool(parts):
    leases = [
        Lease(
            address=f"10.0.0.{10 + number}",
            mac=f"52:54:00:00:01:{number:02x}",
            state=LeaseState.ACKED,
            expires_at=START + timedelta(hours=1),
            subnet="rack",
        )
        for number in range(9)
    ]
    await save(parts, RACK, *leases)
    assert await codes(doctor(parts)) == ["pool-nearly-full"]
    parts.clock.now = START + timedelta(hours=2)
    assert await codes(doctor(parts)) == []


async def test_leases_outside_of_the_pool_do_not_fill_it(parts):
    then = START + timedelta(hours=1)
    leases = [
        Lease(address=f"10.0.0.{100 + number}", mac=MAC, state=LeaseState.ACKED, expires_at=then, subnet="rack")
        for number in range(10)
    ]
    await save(parts, RACK, *leases)
    assert await codes(doctor(parts)) == []


async def test_a_huge_pool_of_ipv6_is_counted(parts):
    lease = Lease(address="fd00::5", mac=MAC, state=LeaseState.ACKED, expires_at=START + timedelta(hours=1), subnet="6")
    await save(parts, Subnet(name="6", cidr="fd00::/32", pool_start="fd00::1", pool_end="fd00:0:ffff::"), lease)
    assert await codes(doctor(parts)) == []


async def test_a_reservation_of_an_address_that_became_ours_is_found(parts):
    await save(parts, Reservation(address="10.0.0.1", mac=MAC), Reservation(address="10.0.0.2", mac=MAC))
    found = (await doctor(parts).examine()).items
    assert [(each.code, each.subject, each.macs) for each in found] == [("own-address-reserved", "10.0.0.1", (MAC,))]


async def test_a_machine_that_shall_boot_from_the_network_is_waited_for(parts):
    one = (await parts.register(MAC)).machine
    await save(parts, replace(one, bootenv="discovery"))
    tx = parts.ledger.transaction()
    tx.event("power.done", machine=one.id, key="power-cycle", state="on")
    await tx.commit()
    parts.clock.now = START + timedelta(minutes=11)
    assert await codes(doctor(parts)) == ["not-heard"]
    own = await doctor(parts).examine(parts.ledger.read(Machine, one.id))
    assert [each.code for each in own.items] == ["not-heard"]
    await save(parts, replace(parts.ledger.read(Machine, one.id), bootenv="local"))
    assert await codes(doctor(parts)) == []
