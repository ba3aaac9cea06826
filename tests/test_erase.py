"""Destructive tasks are refused while every disk holds data and no grant in force fits one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from provisioner.erase import erase_problem
from provisioner.model.content import Task
from provisioner.model.machines import EraseGrant, Machine

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
FULL = {
    "path": "/dev/sda",
    "wwn": "0x5000c500a1b2c3d4",
    "serial": "WD-1",
    "partitions": [{"name": "sda1", "size_bytes": 1}],
}
BLANK = {"path": "/dev/sdb", "wwn": "0x5000c500ffffffff", "serial": "WD-2", "partitions": []}
WRITE = Task(name="image-write", destructive=True)


def problem(*disks, grants=(), task=WRITE, inventory=None):
    given = tuple(EraseGrant(disk, NOW + timedelta(hours=hours)) for disk, hours in grants)
    machine = Machine(
        id="m1",
        name="m1",
        created_at=NOW,
        updated_at=NOW,
        inventory={"disks": list(disks)} if inventory is None else inventory,
        erase_grants=given,
    )
    return erase_problem(task, machine, NOW)


def test_a_full_disk_without_a_grant_is_refused_by_name_and_with_what_to_do():
    assert problem(FULL) == (
        "task 'image-write' destroys data, and /dev/sda (WWN 0x5000c500a1b2c3d4, serial WD-1) of machine m1 holds some;"
        " grant it to erase the disk (by WWN, serial, path or 'any'), then set the machine runnable"
    )


def test_several_full_disks_are_all_named():
    assert "/dev/sda (WWN 0x5000c500a1b2c3d4, serial WD-1), /dev/sdc of machine m1 hold some" in problem(
        FULL, {"path": "/dev/sdc", "filesystem": "ext4"}
    )


def test_a_task_that_destroys_nothing_may_run():
    assert problem(FULL, task=Task(name="look")) == ""


def test_a_blank_disk_leaves_it_to_the_agent():
    assert problem(FULL, BLANK) == ""


@pytest.mark.parametrize("inventory", [{}, {"disks": None}, {"disks": []}, {"disks": "no"}, {"disks": [7, "x"]}])
def test_without_disks_in_the_inventory_it_is_left_to_the_agent(inventory):
    assert problem(inventory=inventory) == ""


@pytest.mark.parametrize("sign", ["removable", "read_only"])
def test_a_disk_that_no_image_goes_to_does_not_count(sign):
    assert problem(FULL, BLANK | {sign: True}) != ""
    assert problem(FULL | {sign: True}) == ""


@pytest.mark.parametrize(
    "disk",
    [
        "any",
        "/dev/sda",
        "0x5000c500a1b2c3d4",
        "naa.5000c500A1B2C3D4",
        "wwn-0x5000c500a1b2c3d4",
        "wd-1",
        " WD-1 ",
        "/dev/disk/by-id/wwn-0x5000c500a1b2c3d4",
    ],
)
def test_a_grant_that_fits_lets_it_run(disk):
    assert problem(FULL, grants=[(disk, 1)]) == ""


def test_a_grant_for_a_removable_disk_lets_it_run():
    stick = FULL | {"path": "/dev/sdz", "removable": True, "wwn": "", "serial": ""}
    assert problem(FULL, stick, grants=[("/dev/sdz", 1)]) == ""


@pytest.mark.parametrize("grant", [("any", 0), ("any", -1)])
def test_a_grant_that_has_expired_counts_for_nothing(grant):
    assert "grants in force" not in problem(FULL, grants=[grant]) != ""


def test_grants_that_fit_no_disk_are_named():
    assert "; the grants in force are for /dev/sdq, other;" in problem(FULL, grants=[("other", 1), ("/dev/sdq", 1)])


@pytest.mark.parametrize("disk", [{"partitions": [1], "wwn": None, "serial": None}, {"holds": "x", "name": "sda"}])
def test_a_disk_that_is_described_badly_is_named_as_well_as_can_be(disk):
    assert problem(disk, grants=[("naa.", 1), ("", 1)]) != ""
