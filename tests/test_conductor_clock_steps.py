"""What becomes of leases when the server's clock is set."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from provisioner.bus import Bus
from provisioner.conductor.addresses import Addresses
from provisioner.conductor.boot_choices import BootChoices
from provisioner.conductor.clock_steps import RETRY_SECONDS, STEP, ClockSteps, boot_seconds
from provisioner.conductor.ledger import Ledger
from provisioner.errors import StoreError
from provisioner.links import Arrival
from provisioner.model.addresses import Lease, LeaseState, Subnet
from provisioner.model.content import Bootenv
from provisioner.params import Params
from tests.dhcp_messages import discover, mac

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DAY = 86400
ADDRESS = "10.0.0.9"


class Store:
    """Accepts everything at once, or refuses it, or what is larger; `slow`: once it is told what is next."""

    def __init__(self):
        self.broken = self.slow = False
        self.most_writes = 1000
        self.batches = []
        self.waiting = []
        # Leases by address.
        self.rows = {}

    def submit(self, batch, *, lazy=False):
        self.batches.append(batch)
        self.waiting.append(batch)
        if not self.slow:
            self.tell_next()

    def tell_next(self):
        batch = self.waiting.pop(0)
        refused = self.broken or len(batch.writes) > self.most_writes
        if not refused:
            self.rows |= {each.key: each.value for each in batch.writes}
        batch.settled(StoreError("disk full") if refused else None)

    def hurry(self):
        pass


class Clocks:
    """A ledger with a clock that can be set, and one that only counts."""

    def __init__(self):
        self.wall, self.steady = NOW, 100.0
        self.store = Store()
        self.ledger = Ledger(self.store, Bus(), lambda: self.wall)
        self.steps = ClockSteps(self.ledger, lambda: self.steady)
        self.steps.follow()

    def pass_by(self, seconds):
        self.wall += timedelta(seconds=seconds)
        self.steady += seconds

    def set(self, seconds):
        self.wall += timedelta(seconds=seconds)
        self.steps.follow()

    def lease(self, left=1800, seconds=3600, state=LeaseState.ACKED):
        tx = self.ledger.transaction()
        ends = self.wall + timedelta(seconds=left)
        tx.put(Lease(address=ADDRESS, mac=mac(1), state=state, expires_at=ends, seconds=seconds))
        tx.commit()

    @property
    def left(self):
        return (self.ledger.get(Lease, ADDRESS).expires_at - self.wall).total_seconds()

    @property
    def left_on_disk(self):
        return (self.store.rows[ADDRESS].expires_at - self.wall).total_seconds()


async def test_while_time_only_passes_nothing_is_changed():
    clocks = Clocks()
    clocks.lease()
    clocks.pass_by(DAY)
    clocks.steps.follow()
    assert (clocks.left, len(clocks.store.batches)) == (1800 - DAY, 1)


@pytest.mark.parametrize("seconds", [STEP.total_seconds(), 60, DAY, 20 * 365 * DAY])
async def test_when_the_clock_is_set_forward_leases_run_on_for_what_they_had_left(seconds):
    clocks = Clocks()
    clocks.lease()
    clocks.pass_by(600)
    clocks.set(seconds)
    assert clocks.left == 1200


async def test_a_lease_that_had_ended_is_not_revived():
    clocks = Clocks()
    clocks.lease(left=-1)
    clocks.set(DAY)
    assert clocks.left == -1 - DAY


@pytest.mark.parametrize("left", [1800, -1])
async def test_when_the_clock_is_set_back_no_lease_is_left_longer_than_it_was_given_for(left):
    clocks = Clocks()
    clocks.lease(left=left)
    clocks.set(-DAY)
    assert clocks.left == 3600


async def test_a_lease_from_before_a_wrong_clock_is_not_left_for_years_when_that_is_set_right():
    clocks = Clocks()
    clocks.lease(left=20 * 365 * DAY)
    clocks.set(20 * 365 * DAY)
    assert clocks.left == 3600


async def test_a_quarantine_is_no_longer_than_one():
    clocks = Clocks()
    clocks.lease(left=500, state=LeaseState.QUARANTINED)
    clocks.set(-DAY)
    assert clocks.left == 600


async def test_small_steps_add_up_until_they_count():
    clocks = Clocks()
    clocks.lease()
    for _ in range(4):
        clocks.set(0.25)
    assert clocks.left == 1800


async def test_the_step_is_told():
    clocks = Clocks()
    clocks.lease()
    clocks.set(60)
    [event] = clocks.store.batches[-1].events
    assert (event.kind, event.data) == ("server.clock", {"seconds": 60.0, "leases": 1})


async def test_leases_are_right_also_while_nothing_can_be_saved():
    clocks = Clocks()
    clocks.lease()
    clocks.store.broken = True
    clocks.set(DAY)
    await asyncio.sleep(0)
    assert (clocks.left, clocks.left_on_disk) == (1800, 1800 - DAY)
    clocks.steps.follow()
    assert clocks.left == 1800


async def test_of_several_steps_that_could_not_be_saved_each_counts():
    clocks = Clocks()
    clocks.lease()
    clocks.store.slow = clocks.store.broken = True
    clocks.set(DAY)
    clocks.set(2 * DAY)
    while clocks.store.waiting:
        clocks.store.tell_next()
        await asyncio.sleep(0)
        assert clocks.left == 1800
    clocks.store.slow = clocks.store.broken = False
    clocks.pass_by(RETRY_SECONDS)
    clocks.steps.follow()
    assert (clocks.left, clocks.left_on_disk) == (1800 - RETRY_SECONDS, 1800 - RETRY_SECONDS)
    assert [each.data["seconds"] for each in clocks.store.batches[-1].events] == [DAY, 2 * DAY]


async def test_what_was_under_way_when_the_clock_was_set_is_right_when_it_fails_and_when_it_does_not():
    for broken in (True, False):
        clocks = Clocks()
        clocks.lease()
        clocks.store.slow = True
        clocks.lease(left=900)
        clocks.set(DAY)
        clocks.store.tell_next()
        clocks.store.broken = broken
        clocks.store.tell_next()
        await asyncio.sleep(0)
        assert clocks.left == 900


async def test_a_lease_that_comes_back_when_its_end_could_not_be_saved_is_right():
    clocks = Clocks()
    clocks.lease()
    clocks.store.slow = clocks.store.broken = True
    tx = clocks.ledger.transaction()
    tx.delete(Lease, ADDRESS)
    tx.commit()
    clocks.set(DAY)
    while clocks.store.waiting:
        clocks.store.tell_next()
        await asyncio.sleep(0)
    assert clocks.left == 1800
    clocks.store.slow = clocks.store.broken = False
    clocks.pass_by(RETRY_SECONDS)
    clocks.steps.follow()
    assert clocks.left_on_disk == 1800 - RETRY_SECONDS


async def test_while_nothing_can_be_saved_a_step_is_said_once_and_tried_again_at_a_slow_pace():
    clocks = Clocks()
    clocks.lease()
    clocks.store.broken = True
    with capture_logs() as logs:
        clocks.set(DAY)
        for _ in range(100):
            await asyncio.sleep(0)
            clocks.pass_by(RETRY_SECONDS / 10)
            clocks.steps.follow()
    assert [each["event"] for each in logs] == ["clock.set"]
    assert len([each for each in clocks.store.batches if each.events]) == 11


async def test_as_soon_as_anything_was_saved_the_leases_are_too():
    clocks = Clocks()
    clocks.lease()
    clocks.store.broken = True
    clocks.set(DAY)
    await asyncio.sleep(0)
    clocks.store.broken = False
    tx = clocks.ledger.transaction()
    tx.event("server.clock")
    tx.commit()
    clocks.steps.follow()
    assert clocks.left_on_disk == 1800
    saved = len(clocks.store.batches)
    await asyncio.sleep(0)
    clocks.pass_by(RETRY_SECONDS)
    clocks.steps.follow()
    assert len(clocks.store.batches) == saved


async def test_while_the_disk_has_room_for_little_they_fail_others_no_more_often_than_at_that_pace():
    clocks = Clocks()
    clocks.lease()
    clocks.store.most_writes = 0
    clocks.set(DAY)
    for _ in range(100):
        await asyncio.sleep(0)
        tx = clocks.ledger.transaction()
        tx.event("server.clock")
        tx.commit()
        clocks.pass_by(RETRY_SECONDS / 100)
        clocks.steps.follow()
    assert len([each for each in clocks.store.batches if each.writes]) <= 1 + 3


async def test_a_clock_that_is_set_while_a_message_is_answered_ends_no_lease_for_that_message():
    clocks = Clocks()
    settings = Params({})
    choices = BootChoices(clocks.ledger, lambda: settings, lambda machine: Bootenv(name="local"))
    addresses = Addresses(clocks.ledger, choices, lambda: clocks.steady)
    addresses.follow()
    tx = clocks.ledger.transaction()
    tx.put(Subnet(name="tiny", cidr="10.0.0.0/24", pool_start=ADDRESS, pool_end=ADDRESS))
    tx.commit()
    clocks.lease()
    addresses.answer([])
    times = iter([clocks.wall])
    # The first who looks sees the old time, all others the new one.
    clocks.ledger.clock = lambda: next(times, clocks.wall + timedelta(days=1))
    asked = discover(2), Arrival("10.0.0.1", "eth0")
    for _ in range(2):
        assert addresses.answer([asked]).ignored == ["no free address"]


def test_the_hosts_clock_only_counts_on():
    assert 0 < boot_seconds() <= boot_seconds()
