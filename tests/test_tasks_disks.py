"""The disk rules of the shipped tasks: which disk is meant, what it holds, which grant counts."""

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.fakes.file_server import FileServer
from tests.shipped_scripts import load_module, run_script, shipped, task_context, write_task

CONTENT = shipped()
NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
LATER = (NOW + timedelta(hours=1)).isoformat()
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def disks(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    folder = tmp_path_factory.mktemp("disks")
    write_task(CONTENT, "check-erase-grant", task_context(CONTENT, {}), folder)
    return load_module(folder / "disks.py")


def block(sys_root: Path, name: str, gib: float = 10, **files: str) -> None:
    """One device of a made-up /sys."""
    folder = sys_root / "block" / name
    (folder / "device").mkdir(parents=True)
    for path, text in {"size": str(int(gib * 2**21)), "removable": "0", "ro": "0", **files}.items():
        (folder / path.replace("device_", "device/")).write_text(text + "\n")


def found(disks: ModuleType, sys_root: Path, **udev: dict[str, str]) -> Any:
    return disks.list_disks(str(sys_root), lambda name: udev.get(name, {}))


def blank(path: Path, mib: int = 4) -> Path:
    with path.open("wb") as file:
        file.truncate(mib * MIB)
    return path


# --- which disks there are


def test_disks_come_in_the_order_of_their_names(disks: ModuleType, tmp_path: Path) -> None:
    for name in ("sdb", "sdaa", "vda", "nvme10n1", "sda", "nvme2n1"):
        block(tmp_path, name)
    assert [disk.path for disk in found(disks, tmp_path)] == [
        "/dev/nvme2n1",
        "/dev/nvme10n1",
        "/dev/sda",
        "/dev/sdb",
        "/dev/sdaa",
        "/dev/vda",
    ]


def test_what_is_no_disk_is_left_out(disks: ModuleType, tmp_path: Path) -> None:
    for name in ("loop0", "ram0", "zram0", "dm-0", "md127", "sr0", "fd0", "nbd0"):
        block(tmp_path, name)
    block(tmp_path, "sda", gib=0)
    block(tmp_path, "nvme0c0n1", hidden="1")
    assert found(disks, tmp_path) == []


def test_a_machine_without_block_devices_has_none(disks: ModuleType, tmp_path: Path) -> None:
    assert found(disks, tmp_path) == []


def test_a_disk_says_its_size_model_wwn_and_serial(disks: ModuleType, tmp_path: Path) -> None:
    block(tmp_path, "sda", device_model="SAS-DISK", device_wwid="naa.5000C500A1", device_serial=" Z1 ")
    (disk,) = found(disks, tmp_path, sda={"ID_WWN": "0x5000c500a1", "ID_SERIAL_SHORT": "Z1SHORT"})
    assert str(disk) == "/dev/sda (10.7 GB, SAS-DISK, WWN naa.5000C500A1, serial Z1)"
    assert disk.ids == {"5000c500a1", "z1", "z1short"}


def test_the_serial_of_a_scsi_disk_is_read_from_its_vital_product_data(disks: ModuleType, tmp_path: Path) -> None:
    block(tmp_path, "sda")
    (tmp_path / "block/sda/device/vpd_pg80").write_bytes(b"\x00\x80\x00\x06ABC123")
    (disk,) = found(disks, tmp_path)
    assert disk.serial == "ABC123"


# --- which one is meant


def test_auto_is_the_first_that_is_suitable(disks: ModuleType, tmp_path: Path) -> None:
    block(tmp_path, "sda", removable="1")
    block(tmp_path, "sdb", ro="1")
    block(tmp_path, "sdc", gib=0.5)
    block(tmp_path, "sdd")
    assert disks.choose("auto", found(disks, tmp_path)).path == "/dev/sdd"


def test_without_a_suitable_disk_each_is_told_with_the_reason(disks: ModuleType, tmp_path: Path) -> None:
    block(tmp_path, "sda", removable="1")
    block(tmp_path, "sdb", gib=0.5)
    with pytest.raises(disks.DiskError) as caught:
        disks.choose("auto", found(disks, tmp_path))
    assert str(caught.value) == (
        "no disk is suitable: /dev/sda (10.7 GB) is removable; /dev/sdb (0.5 GB) is smaller than 1 GiB"
    )


@pytest.mark.parametrize("wanted", ["0x5000C500A2", "naa.5000c500a2", "wwn-0x5000c500a2", "5000c500a2", "S2", " s2 "])
def test_a_disk_is_found_by_any_spelling_of_wwn_or_serial(disks: ModuleType, wanted: str, tmp_path: Path) -> None:
    block(tmp_path, "sda", device_wwid="naa.5000c500a1", device_serial="S1")
    block(tmp_path, "sdb", device_wwid="naa.5000c500a2", device_serial="S2")
    assert disks.choose(wanted, found(disks, tmp_path)).path == "/dev/sdb"


def test_an_unknown_serial_is_told_with_what_there_is(disks: ModuleType, tmp_path: Path) -> None:
    block(tmp_path, "sda", device_serial="S1")
    with pytest.raises(
        disks.DiskError, match=r"no disk has WWN or serial 'S9'; there is: /dev/sda \(10.7 GB, serial S1"
    ):
        disks.choose("S9", found(disks, tmp_path))


def test_a_serial_of_two_disks_is_refused(disks: ModuleType, tmp_path: Path) -> None:
    block(tmp_path, "sda", device_serial="S1")
    block(tmp_path, "sdb", device_serial="S1")
    with pytest.raises(disks.DiskError, match="means more than one disk"):
        disks.choose("S1", found(disks, tmp_path))


def test_a_read_only_disk_is_refused_even_by_name(disks: ModuleType, tmp_path: Path) -> None:
    block(tmp_path, "sda", ro="1", device_serial="S1")
    with pytest.raises(disks.DiskError, match="is read-only"):
        disks.choose("S1", found(disks, tmp_path))


@pytest.mark.parametrize("path", ["/dev/no-such-disk", "/dev/null", "/"])
def test_a_path_that_is_no_disk_is_refused(disks: ModuleType, path: str) -> None:
    with pytest.raises(disks.DiskError, match="is no(t a)? disk|there is no disk"):
        disks.choose(path, [])


def test_a_link_leads_to_the_disk(disks: ModuleType, tmp_path: Path) -> None:
    blank(tmp_path / "disk")
    (tmp_path / "by-path").symlink_to(tmp_path / "disk")
    disk = disks.choose(str(tmp_path / "by-path"), [])
    assert (disk.path, disk.size) == (str(tmp_path / "disk"), 4 * MIB)


# --- what it holds


def held(disks: ModuleType, path: Path) -> list[str]:
    return list(disks.holdings(disks.choose(str(path), [])))


def test_a_blank_disk_holds_nothing(disks: ModuleType, tmp_path: Path) -> None:
    assert held(disks, blank(tmp_path / "disk")) == []


@pytest.mark.parametrize("label", ["gpt", "dos"])
def test_a_partition_table_is_data(disks: ModuleType, label: str, tmp_path: Path) -> None:
    disk = blank(tmp_path / "disk", 16)
    subprocess.run(["sfdisk", "-q", "--label", label, str(disk)], input=b"1M,4M\n", check=True)
    assert any(label in line.lower() or "MBR" in line for line in held(disks, disk))


def test_a_file_system_is_data(disks: ModuleType, tmp_path: Path) -> None:
    disk = blank(tmp_path / "disk", 16)
    subprocess.run(["mkfs.ext4", "-q", "-L", "precious", str(disk)], check=True)
    assert "a signature of ext4 precious" in held(disks, disk)


@pytest.mark.parametrize(
    ("offset", "what"),
    [(0, "data in its first MiB"), (MIB - 1, "data in its first MiB"), (4 * MIB - 1, "data in its last MiB")],
)
def test_any_byte_at_the_ends_is_data(disks: ModuleType, offset: int, what: str, tmp_path: Path) -> None:
    disk = blank(tmp_path / "disk")
    with disk.open("r+b") as file:
        file.seek(offset)
        file.write(b"x")
    assert held(disks, disk) == [what]


def test_a_disk_smaller_than_a_mib_is_read_whole(disks: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(bytes(1000) + b"x")
    assert held(disks, tmp_path / "disk") == ["data in its first MiB", "data in its last MiB"]


# --- which grant counts


def decide(disks: ModuleType, disk: Any, *grants: dict[str, str]) -> str:
    return str(disks.check_may_erase(disk, {"erase_grants": list(grants)}, NOW))


@pytest.fixture
def full(disks: ModuleType, tmp_path: Path) -> Any:
    (tmp_path / "disk").write_bytes(b"x" * MIB)
    return disks.Disk(str(tmp_path / "disk"), MIB, serial="S1", ids=frozenset({"s1", "5000c500a1"}))


def test_a_blank_disk_needs_no_grant(disks: ModuleType, tmp_path: Path) -> None:
    assert decide(disks, disks.choose(str(blank(tmp_path / "d")), [])) == "it is blank"


@pytest.mark.parametrize("named", ["any", "S1", "naa.5000C500A1", "0x5000c500a1", "PATH"])
def test_a_grant_names_the_disk_by_any_serial_wwn_or_path(disks: ModuleType, full: Any, named: str) -> None:
    grant = {"disk": full.path if named == "PATH" else named, "expires_at": LATER, "granted_by": "user:ann"}
    assert "by user:ann allows to erase it" in decide(disks, full, grant)


@pytest.mark.parametrize(
    ("grant", "reason"),
    [
        ({"disk": "S2", "expires_at": LATER}, "names another disk"),
        ({"disk": "/dev/sdz", "expires_at": LATER}, "names another disk"),
        ({"disk": "", "expires_at": LATER}, "names another disk"),
        ({"disk": "ANY", "expires_at": LATER}, "names another disk"),
        ({"disk": "any", "expires_at": NOW.isoformat()}, "expired at"),
        ({"disk": "any", "expires_at": "2026-01-02T11:59:59Z"}, "expired at"),
        ({"disk": "any", "expires_at": "soon"}, "expired at soon"),
        ({"disk": "any"}, "expired at None"),
    ],
)
def test_any_other_grant_does_not_count(disks: ModuleType, full: Any, grant: dict[str, str], reason: str) -> None:
    with pytest.raises(disks.DiskError) as caught:
        decide(disks, full, grant)
    assert reason in str(caught.value) and "It is left alone" in str(caught.value)


def test_one_valid_grant_among_others_is_enough(disks: ModuleType, full: Any) -> None:
    others = {"disk": "S2", "expires_at": LATER}, {"disk": "S1", "expires_at": "2000-01-01T00:00:00Z"}
    assert decide(disks, full, *others, {"disk": "S1", "expires_at": "2026-01-02T12:00:01Z"})


def test_without_grants_the_refusal_says_so(disks: ModuleType, full: Any) -> None:
    with pytest.raises(disks.DiskError, match=r"no valid erase grant names it \(the machine has none\)"):
        decide(disks, full)


# --- the task, run


def run_check(folder: Path, wanted: str, grants: list[dict[str, str]]) -> subprocess.CompletedProcess[str]:
    scripts = folder / "task"
    scripts.mkdir()
    with FileServer(machine={"erase_grants": grants}).running() as server:
        context = task_context(CONTENT, {"image/disk": wanted}, server.url)
        return run_script(write_task(CONTENT, "check-erase-grant", context, scripts), server.url)


def test_the_task_passes_a_blank_disk(tmp_path: Path) -> None:
    done = run_check(tmp_path, str(blank(tmp_path / "disk")), [])
    assert done.returncode == 0, done.stderr
    assert "may be written: it is blank" in done.stdout


def test_the_task_refuses_a_disk_that_holds_data(tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(b"x" * MIB)
    done = run_check(tmp_path, str(tmp_path / "disk"), [])
    assert done.returncode == 1 and done.stderr.startswith("refused: disk ")


def test_the_task_passes_a_disk_that_a_grant_names(tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(b"x" * MIB)
    done = run_check(tmp_path, str(tmp_path / "disk"), [{"disk": "any", "expires_at": "2999-01-01T00:00:00Z"}])
    assert done.returncode == 0, done.stderr


def test_the_task_fails_for_a_disk_that_is_not_there(tmp_path: Path) -> None:
    done = run_check(tmp_path, "no-such-serial", [])
    assert done.returncode == 1 and "no disk has WWN or serial 'no-such-serial'" in done.stderr
