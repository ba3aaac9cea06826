"""Task image-settings: what the written system is told, and how its root file system is found."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.fakes.file_server import MACHINE_ID, TOKEN, FileServer
from tests.peers.programs import missing
from tests.shipped_scripts import load_module, run_script, shipped, task_context, write_task

CONTENT = shipped()
MIB = 1024 * 1024
MAC = "52:54:00:aa:bb:cc"
DHCP_BY_MAC = ["", "[DHCPv4]", "ClientIdentifier=mac", "SendRelease=no"]


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    folder = tmp_path_factory.mktemp("settings")
    write_task(CONTENT, "image-settings", task_context(CONTENT, {}), folder)
    return load_module(folder / "roots.py")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("etc", "root", "usr/lib"):
        (tmp_path / "root" / name).mkdir(parents=True)
    return tmp_path / "root"


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


# --- what is written


def test_the_host_gets_its_name(roots: ModuleType, root: Path) -> None:
    roots.write_settings(str(root), "web-1.example.org", [], {}, MAC)
    assert (root / "etc/hostname").read_text() == "web-1.example.org\n"
    assert "127.0.1.1 web-1.example.org web-1\n" in (root / "etc/hosts").read_text()


def test_a_short_name_is_in_hosts_once(roots: ModuleType) -> None:
    assert "127.0.1.1 web-1\n" in roots.hosts_file("web-1")


def test_keys_are_for_root_alone(roots: ModuleType, root: Path) -> None:
    roots.write_settings(str(root), "h", ["ssh-ed25519 AAAA a\n", "ssh-rsa BBBB b"], {}, MAC)
    keys = root / "root/.ssh/authorized_keys"
    assert keys.read_text() == "ssh-ed25519 AAAA a\nssh-rsa BBBB b\n"
    assert (mode(keys), mode(keys.parent)) == (0o600, 0o700)


def test_without_keys_and_network_the_images_own_stay(roots: ModuleType, root: Path) -> None:
    roots.write_settings(str(root), "h", [], {}, MAC)
    assert not (root / "root/.ssh").exists() and not (root / "etc/systemd").exists()


def test_the_agents_file_is_secret_and_says_where_and_who(roots: ModuleType, root: Path) -> None:
    roots.write_agent(str(root), "http://192.0.2.1:8091", MACHINE_ID, TOKEN)
    file = root / "etc/provisioner/agent.json"
    assert mode(file) == 0o600
    assert json.loads(file.read_text()) == {
        "url": "http://192.0.2.1:8091",
        "machine": MACHINE_ID,
        "token": TOKEN,
        "bootenv": "local",
    }


def test_a_link_in_the_image_does_not_lead_out_of_it(roots: ModuleType, root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "hostname-of-the-ram-system"
    outside.write_text("mine\n")
    (root / "etc/hostname").symlink_to(outside)
    roots.write_settings(str(root), "h", [], {}, MAC)
    assert outside.read_text() == "mine\n" and (root / "etc/hostname").read_text() == "h\n"


def test_a_file_written_twice_is_the_second(roots: ModuleType, root: Path) -> None:
    roots.put(str(root), "/etc/x", "one")
    roots.put(str(root), "/etc/x", "two", 0o600)
    assert (root / "etc/x").read_text() == "two" and mode(root / "etc/x") == 0o600
    assert [path.name for path in (root / "etc").iterdir()] == ["x"]


# --- network


@pytest.mark.parametrize(
    ("network", "lines"),
    [
        ({"dhcp": True}, ["[Match]", f"MACAddress={MAC}", "", "[Network]", "DHCP=yes", *DHCP_BY_MAC]),
        (
            {"addresses": ["192.0.2.10/24", "2001:db8::a/64"], "gateway": "192.0.2.1", "dns": ["192.0.2.2"]},
            [
                *("[Match]", f"MACAddress={MAC}", "", "[Network]", "DHCP=no", "Address=192.0.2.10/24"),
                *("Address=2001:db8::a/64", "Gateway=192.0.2.1", "DNS=192.0.2.2"),
            ],
        ),
        (
            {"interface": "en*", "mtu": 9000, "search": ["a.example", "b.example"]},
            [
                *("[Match]", "Name=en*", "", "[Link]", "MTUBytes=9000", "", "[Network]", "DHCP=yes"),
                "Domains=a.example b.example",
                *DHCP_BY_MAC,
            ],
        ),
        (
            {"mac": "52:54:00:00:00:01", "interface": "eth0", "addresses": ["192.0.2.10/24"], "dhcp": True},
            [
                *("[Match]", "MACAddress=52:54:00:00:00:01", "", "[Network]", "DHCP=yes"),
                "Address=192.0.2.10/24",
                *DHCP_BY_MAC,
            ],
        ),
    ],
)
def test_the_network_is_in_the_words_of_systemd(
    roots: ModuleType, network: dict[str, object], lines: list[str]
) -> None:
    assert roots.network_file(network, MAC).splitlines() == lines


def test_without_any_mac_all_ethernet_interfaces_match(roots: ModuleType) -> None:
    assert "Name=en* eth*" in roots.network_file({"dhcp": True}, "")


@pytest.mark.parametrize("network", [{"addresses": ["192.0.2.999/24"]}, {"gateway": "192.0.2"}, {"dns": ["2001:::1"]}])
def test_an_address_that_is_none_is_refused(roots: ModuleType, network: dict[str, object]) -> None:
    with pytest.raises(roots.RootError, match="param os/network: .*does not appear to be an"):
        roots.network_file(network, MAC)


# --- the task on a disk


def disk_with(path: Path, label: str, *partitions: tuple[str, str, bool]) -> Path:
    """A disk of partitions (file system, name, whether it holds a system), 16 MiB each."""
    with path.open("wb") as file:
        file.truncate((len(partitions) * 16 + 4) * MIB)
    lines = "".join(f"size=16M{f', name={name}' if label == 'gpt' else ''}\n" for _, name, _ in partitions)
    subprocess.run(["sfdisk", "-q", "--label", label, str(path)], input=lines.encode(), check=True)
    with path.open("r+b") as disk:
        for place, (kind, _, has_system) in enumerate(partitions):
            disk.seek((1 + 16 * place) * MIB)
            disk.write(file_system(path.parent, kind, has_system))
    return path


def file_system(folder: Path, kind: str, has_system: bool) -> bytes:
    tree, image = folder / "tree", folder / "fs"
    (tree / "etc").mkdir(parents=True, exist_ok=True)
    (tree / "etc/os-release").unlink(missing_ok=True)
    if has_system:
        (tree / "etc/os-release").write_text("ID=debian\n")
    image.unlink(missing_ok=True)
    with image.open("wb") as file:
        file.truncate(16 * MIB)
    if kind == "vfat":
        subprocess.run(["mkfs.vfat", str(image)], check=True, stdout=subprocess.DEVNULL)
    elif kind:
        subprocess.run([f"mkfs.{kind}", "-q", "-d", str(tree), str(image)], check=True)
    return image.read_bytes()


@pytest.fixture(scope="module")
def can_mount(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("mount")
    (folder / "fs").write_bytes(file_system(folder, "ext4", False))
    (folder / "at").mkdir()
    command = ["mount", "-o", "loop", str(folder / "fs"), str(folder / "at")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        missing(f"nothing can be mounted here: {done.stderr.strip()}")
    subprocess.run(["umount", str(folder / "at")], check=True)


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer(files={"/agent.pyz": b"#!/usr/bin/env python3\nPK"}).running() as running:
        yield running


def settle(server: FileServer, disk: Path, **params: object) -> subprocess.CompletedProcess[str]:
    folder = disk.parent / "task"
    folder.mkdir()
    context = task_context(CONTENT, {"image/disk": str(disk), **params}, server.url)
    return run_script(write_task(CONTENT, "image-settings", context, folder), server.url)


def read_back(roots: ModuleType, disk: Path) -> dict[str, str]:
    with roots.mounted_root(str(disk)) as root:
        paths = (Path(parent, name) for parent, _, names in os.walk(root) for name in names)
        return {str(path.relative_to(root)): path.read_text() for path in paths}


@pytest.mark.usefixtures("can_mount")
@pytest.mark.parametrize(
    ("label", "partitions"),
    [
        ("gpt", [("", "bios", False), ("vfat", "esp", False), ("ext4", "root", True)]),
        ("gpt", [("ext4", "data", True), ("ext4", "debian-root", True)]),
        ("dos", [("vfat", "", False), ("ext4", "", True)]),
        ("gpt", [("ext4", "root", False), ("ext4", "other", True)]),
    ],
    ids=["named root", "named root behind another system", "MBR", "root without a system"],
)
def test_the_root_is_found_and_gets_its_settings(
    roots: ModuleType, server: FileServer, tmp_path: Path, label: str, partitions: list[tuple[str, str, bool]]
) -> None:
    disk = disk_with(tmp_path / "disk", label, *partitions)
    keys = {"os/hostname": "web-1", "os/ssh-keys": ["ssh-ed25519 AAAA a"], "os/network": {"dhcp": True}}
    done = settle(server, disk, **keys)
    assert done.returncode == 0, done.stderr
    files = read_back(roots, disk)
    assert files["etc/hostname"] == "web-1\n"
    assert files["root/.ssh/authorized_keys"] == "ssh-ed25519 AAAA a\n"
    assert f"MACAddress={MAC}" in files["etc/systemd/network/10-provisioner.network"]
    assert files["opt/provisioner/agent.pyz"].startswith("#!/usr/bin/env python3")
    assert json.loads(files["etc/provisioner/agent.json"])["token"] == TOKEN
    assert TOKEN not in done.stdout


@pytest.mark.usefixtures("can_mount")
def test_a_disk_without_a_system_is_told_with_what_was_tried(server: FileServer, tmp_path: Path) -> None:
    disk = disk_with(tmp_path / "disk", "gpt", ("vfat", "esp", False), ("ext4", "root", False))
    done = settle(server, disk)
    assert done.returncode == 1
    assert "no root file system on" in done.stderr and "holds no operating system" in done.stderr


@pytest.mark.usefixtures("can_mount")
def test_a_network_that_is_none_fails_and_leaves_nothing_mounted(server: FileServer, tmp_path: Path) -> None:
    disk = disk_with(tmp_path / "disk", "gpt", ("ext4", "root", True))
    done = settle(server, disk, **{"os/network": {"gateway": "999.1.1.1"}})
    assert done.returncode == 1 and "param os/network" in done.stderr
    assert str(disk) not in Path("/proc/mounts").read_text()


def test_a_blank_disk_has_no_root(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(bytes(MIB))
    done = settle(server, tmp_path / "disk")
    assert done.returncode == 1 and "no root file system on" in done.stderr
