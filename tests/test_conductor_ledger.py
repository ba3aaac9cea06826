"""The ledger over a real store that can be made to fail: what is decided, what is durable, what is told."""

from __future__ import annotations

import asyncio
import sqlite3
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from provisioner.bus import Bus
from provisioner.conductor.ledger import Ledger
from provisioner.errors import DiskFull, StoreError
from provisioner.model.access import Token, TokenPurpose
from provisioner.model.addresses import Lease, LeaseState, Reservation
from provisioner.model.machines import Job, JobState, Machine
from provisioner.store.database import Database
from tests.small_disk import small_disk

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TRAP = (
    "CREATE TRIGGER trap BEFORE INSERT ON machines WHEN new.key = 'bad'"
    " BEGIN SELECT raise(ABORT, 'database or disk is full'); END"
)


def machine(id, **fields):
    return Machine(**{"id": id, "name": f"name-{id}", "created_at": NOW, "updated_at": NOW} | fields)


def job(id, machine="m1", **fields):
    return Job(**{"id": id, "machine": machine, "task": "t", "created_at": NOW} | fields)


@pytest.fixture
async def ledger(tmp_path):
    database = Database(tmp_path / "a.db")
    database.open()
    with sqlite3.connect(database.path) as conn:
        conn.execute(TRAP)
    conn.close()
    database.start()
    ledger = Ledger(database, Bus(), lambda: NOW)
    ledger.load()
    yield ledger
    await database.close()


def put(ledger, *values, kind=""):
    """Commit without waiting."""
    tx = ledger.transaction(by="test")
    for value in values:
        tx.put(value)
    if kind:
        tx.event(kind, key=values[0].id if values else "")
    return tx.commit()


async def test_what_is_put_right_counts_for_rules_and_readers_alike_and_no_failure_takes_it_back(ledger):
    await put(ledger, machine("m1", description="odd"), machine("m2"), machine("m3", description="odd"))
    failing = put(ledger, machine("m1", description="decided"), machine("bad", description="odd"))
    righted = ledger.amend(
        Machine, lambda each: replace(each, description="right") if each.description == "odd" else each
    )
    assert sorted(righted) == ["bad", "m1", "m3"]
    with pytest.raises(StoreError):
        await failing
    for found in (ledger.all(Machine), ledger.read_all(Machine)):
        assert {each.id: each.description for each in found} == {"m1": "right", "m2": "", "m3": "right"}
    assert all(ledger.get(Machine, each) is ledger.read(Machine, each) for each in ("m1", "m2", "m3"))


async def test_what_is_decided_is_current_at_once_and_durable_only_on_disk(ledger):
    committed = put(ledger, machine("m1"))
    assert ledger.get(Machine, "m1") and not ledger.read(Machine, "m1")
    await committed
    assert ledger.read(Machine, "m1") == ledger.get(Machine, "m1")
    assert list(ledger.read_all(Machine)) == list(ledger.all(Machine))


async def test_whoever_changes_nothing_waits_for_what_was_decided_before(ledger):
    committed = put(ledger, machine("m1"))
    repeated = ledger.transaction().commit()
    assert not repeated.done()
    await repeated
    assert ledger.read(Machine, "m1") and committed.done()
    assert ledger.transaction().commit().done()


async def test_whoever_answers_from_a_decision_that_the_disk_refused_is_told_so(ledger):
    committed = put(ledger, machine("bad"))
    repeated = ledger.transaction().commit()
    for each in (committed, repeated):
        with pytest.raises(StoreError):
            await each
    await ledger.transaction().commit()


async def test_nothing_is_published_before_it_is_on_disk(ledger):
    with ledger.bus.subscribe() as heard:
        committed = put(ledger, machine("m1"), kind="machine.create")
        told = await heard.next()
        assert ledger.read(Machine, "m1")
        assert (told.id, told.kind, told.by, told.time) == (1, "machine.create", "test", NOW)
        assert ledger.database.last_event_id() == 1
        await committed


async def test_a_failed_disk_takes_back_every_decision_in_flight(ledger):
    await put(ledger, machine("m1", macs=("a",)))
    flying = [put(ledger, machine("m1", macs=("b",)), machine("bad")), put(ledger, machine("m2"), job("j"))]
    assert ledger.machine_by_mac("b")
    results = await asyncio.gather(*flying, return_exceptions=True)
    assert [type(result) for result in results] == [StoreError, StoreError]
    assert [each.id for each in ledger.all(Machine)] == ["m1"]
    assert ledger.machine_by_mac("a") and not ledger.machine_by_mac("b")
    assert ledger.jobs_of("m1") == []


async def test_a_failed_disk_takes_back_every_decision_though_one_who_watches_has_a_fault(ledger):
    def watch(old, new):
        if new is None and old.id == "bad":
            raise ValueError("a fault of ours")

    ledger.observe(Machine, watch)
    with pytest.raises(StoreError):
        await asyncio.wait_for(put(ledger, machine("bad"), machine("m2")), 30)
    assert list(ledger.all(Machine)) == []


async def test_a_failed_transaction_is_never_published_and_the_next_one_is(ledger):
    with ledger.bus.subscribe() as heard:
        with pytest.raises(StoreError):
            await put(ledger, machine("bad"), kind="machine.create")
        await put(ledger, machine("m2"), kind="machine.create")
        assert (await heard.next()).key == "m2"


async def test_numbers_of_events_that_failed_are_given_again_so_that_readers_see_no_gap(ledger):
    await put(ledger, machine("m1"), kind="machine.create")
    with pytest.raises(StoreError):
        await put(ledger, machine("bad"), kind="machine.create")
    with ledger.bus.subscribe() as heard:
        await put(ledger, machine("m2"), kind="machine.create")
        assert (await heard.next()).id == 2


async def test_a_deletion_that_failed_brings_the_object_back(ledger):
    await put(ledger, machine("m1"))
    tx = ledger.transaction()
    tx.delete(Machine, "m1")
    tx.put(machine("bad"))
    committed = tx.commit()
    assert ledger.get(Machine, "m1") is None
    with pytest.raises(StoreError):
        await committed
    assert ledger.machine_by_name("name-m1")


async def test_every_save_of_a_machine_is_a_revision(ledger):
    await put(ledger, machine("m1"))
    await put(ledger, machine("m1"))
    assert ledger.read(Machine, "m1").revision == 2


async def test_a_transaction_sees_its_own_changes(ledger):
    tx = ledger.transaction()
    tx.put(machine("m1"))
    assert tx.get(Machine, "m1") and not ledger.get(Machine, "m1")
    tx.delete(Machine, "m1")
    assert tx.get(Machine, "m1") is None


async def test_an_unknown_kind_of_event_is_refused(ledger):
    with pytest.raises(ValueError, match="nonsense"):
        ledger.transaction().event("nonsense")


async def test_an_empty_transaction_is_done_at_once(ledger):
    assert ledger.transaction().commit().done()


async def test_indexes_follow_every_change(ledger):
    await put(ledger, machine("m1", macs=("a", "b"), address="10.0.0.1"))
    await put(ledger, machine("m1", name="other", macs=("b", "c")))
    assert ledger.machine_by_mac("a") is None and ledger.machine_by_name("name-m1") is None
    assert ledger.machine_by_mac("c").id == ledger.machine_by_name("other").id == "m1"
    assert ledger.machines_by_address("10.0.0.1") == []


async def test_live_jobs_are_those_created_or_running(ledger):
    await put(ledger, *(job(state.value, state=state) for state in JobState))
    assert sorted(each.id for each in ledger.live_jobs()) == ["created", "running"]
    assert len(ledger.jobs_of("m1")) == len(JobState)


async def test_jobs_come_back_in_the_order_in_which_they_were_created_though_the_clock_was_set_back(ledger):
    await put(ledger, job("z", created_at=NOW))
    await put(ledger, job("b", created_at=NOW - timedelta(hours=1)), job("a", created_at=NOW - timedelta(hours=2)))
    await put(ledger, job("z", created_at=NOW, state=JobState.FINISHED))
    again = Ledger(ledger.database, Bus(), lambda: NOW)
    again.load()
    assert [each.id for each in again.jobs_of("m1")] == [each.id for each in ledger.jobs_of("m1")] == ["z", "b", "a"]


async def test_addresses_and_tokens_are_found_by_whose_they_are(ledger):
    lease = Lease(address="10.0.0.1", mac="a", state=LeaseState.ACKED, expires_at=NOW)
    reservation = Reservation(address="10.0.0.2", mac="a")
    token = Token(digest="d", purpose=TokenPurpose.API, subject="ann", created_at=NOW)
    await put(ledger, lease, reservation, token)
    assert ledger.leases_by_mac("a") == [lease]
    assert ledger.reservations_by_mac("a") == [reservation]
    assert ledger.tokens_of("ann") == [token]


async def test_a_new_ledger_loads_what_is_on_disk_and_numbers_on(ledger):
    await put(ledger, machine("m1", macs=("a",)), kind="machine.create")
    again = Ledger(ledger.database, Bus(), lambda: NOW)
    again.load()
    assert again.read(Machine, "m1") == again.machine_by_mac("a") == ledger.get(Machine, "m1")
    with again.bus.subscribe() as heard:
        await put(again, machine("m2"), kind="machine.create")
        assert (await heard.next()).id == 2


async def test_waiting_ends_when_the_durable_value_changes(ledger):
    waiting = asyncio.create_task(ledger.changed(Machine, "m1", 60))
    await asyncio.sleep(0)
    await put(ledger, machine("m1"))
    await waiting


async def test_waiting_ends_with_its_time(ledger):
    await ledger.changed(Machine, "m1", 0.001)


async def test_an_observer_hears_what_is_there_every_change_and_what_is_taken_back(ledger):
    await put(ledger, machine("m1"))
    seen = []
    ledger.observe(Machine, lambda old, new: seen.append((old and old.id, new and new.id)))
    with pytest.raises(StoreError):
        await put(ledger, machine("bad"))
    assert seen == [(None, "m1"), (None, "bad"), ("bad", None)]


async def test_jobs_that_were_loaded_are_as_they_were_and_hold_equal_texts_once(ledger):
    saved = [job(f"j{number}", task="a task", previous="j0", boot_id=f"boot-{number // 2}") for number in range(4)]
    await put(ledger, *saved)
    again = Ledger(ledger.database, Bus(), lambda: NOW)
    again.load()
    loaded = list(again.read_all(Job))
    assert loaded == saved
    assert len({id(each.task) for each in loaded}) == 1
    assert loaded[3].previous is loaded[0].id


async def test_a_document_that_cannot_be_read_is_named(ledger):
    with sqlite3.connect(ledger.database.path) as conn:
        conn.execute("INSERT INTO jobs (key, doc) VALUES ('j1', '{\"id\": 7}')")
    conn.close()
    with pytest.raises(StoreError, match=r"a\.db holds something in jobs that cannot be read, 'j1'.*newer provisioner"):
        Ledger(ledger.database, Bus(), lambda: NOW).load()


async def test_a_disk_that_was_full_costs_nothing_that_was_acknowledged_and_work_goes_on(tmp_path):
    with small_disk(tmp_path / "disk") as disk:
        database = Database(disk.folder / "a.db")
        database.open()
        database.start()
        ledger = Ledger(database, Bus(), lambda: NOW)
        ledger.load()
        await put(ledger, machine("kept"))
        disk.fill()
        refused = 0
        for number in range(50):
            try:
                await put(ledger, machine(f"m{number}", inventory={"text": "x" * 50_000}))
            except DiskFull:
                refused += 1
        assert refused
        there = {each.id for each in ledger.all(Machine)}
        assert there == {each.id for each in ledger.read_all(Machine)}
        disk.free()
        await put(ledger, machine("later"))
        await database.close()
        again = Database(disk.folder / "a.db")
        again.open()
        assert {key for key, _ in again.load("machines")} == there | {"later"}
        again.discard()
