"""The virtual rack: power and boot order over IPMI, and that nothing of it is left behind."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import IPv4Interface
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest

from tests.peers.programs import missing
from tests.rack.__main__ import machines_from
from tests.rack.firmware import Firmware
from tests.rack.machine import Attachment, Machine, NextBoot, qemu_command
from tests.rack.neighbour import start_neighbour
from tests.rack.network import NETNS_DIR, RUN_DIR, RackError, sweep
from tests.rack.programs import problems
from tests.rack.rack import REPOSITORY, Rack, RackMachine

AT = Attachment(Path("/rack/m1"), Path("/run/m1.qmp"), ("tap0",), 9001, 7001)
END_SECONDS = 15.0

# Boot sectors in 16-bit machine code. Wait for the ACPI power button (enable PWRBTN in PM1_EN at 0x602, poll PM1_STS at
# 0x600), then enter S5 through PM1_CNT at 0x604: what an operating system does on a soft shutdown.
OBEYS_POWER_BUTTON = bytes.fromhex("ba0206 b80001 ef b200 ed f6c401 74fa b204 b80020 ef ebfe")
# Ask the keyboard controller for a reset: what an operating system does on a reboot.
REBOOTS = bytes.fromhex("b0fe e664 ebfe")
GREETS = "import socket; socket.create_server(('10.77.0.2', 67)).accept()[0].send(b'here')"
HEARS = """
import socket
while True:
    try:
        print(socket.create_connection(("10.77.0.2", 67), timeout=1).recv(9).decode())
        break
    except OSError:
        continue
"""


def option(command: list[str], start: str) -> str:
    """The only argument that begins with `start`."""
    (found,) = [word for word in command if word.startswith(start)]
    return found


@pytest.mark.parametrize("firmware", Firmware)
@pytest.mark.parametrize(
    ("next_boot", "disk", "network"), [(NextBoot.NONE, 2, 1), (NextBoot.PXE, 2, 1), (NextBoot.DISK, 1, 2)]
)
def test_the_next_boot_decides_the_boot_order(firmware: Firmware, next_boot: NextBoot, disk: int, network: int) -> None:
    command = qemu_command(Machine("m1", firmware), AT, next_boot, "tcg")
    assert option(command, "scsi-hd").endswith(f"bootindex={disk}")
    assert option(command, "virtio-net-pci").endswith(f"bootindex={network}")


def test_a_uefi_machine_uses_the_network_stack_of_its_firmware() -> None:
    command = qemu_command(Machine("m1", Firmware.UEFI), AT, NextBoot.NONE, "tcg")
    assert "romfile=," in option(command, "virtio-net-pci")


def test_secure_boot_needs_system_management_mode() -> None:
    command = qemu_command(Machine("m1", Firmware.UEFI_SECURE), AT, NextBoot.NONE, "tcg")
    assert option(command, "q35").endswith("smm=on")
    assert option(command, "driver=cfi.pflash01") == "driver=cfi.pflash01,property=secure,value=on"


def test_firmware_is_told_what_not_to_boot_by() -> None:
    command = qemu_command(Machine("m1", Firmware.UEFI_HTTP), AT, NextBoot.NONE, "tcg")
    assert "name=opt/org.tianocore/IPv4PXESupport,string=n" in command


def test_a_bios_machine_uses_the_rom_of_its_network_card() -> None:
    command = qemu_command(Machine("m1", Firmware.BIOS), AT, NextBoot.NONE, "tcg")
    assert "romfile" not in option(command, "virtio-net-pci")


def test_a_machine_is_the_same_in_every_run_and_differs_from_others() -> None:
    def identity(machine: Machine) -> set[str]:
        return {
            machine.smbios_uuid,
            machine.serial_number,
            machine.disk_serial,
            machine.disk_wwn,
            *machine.network_macs,
        }

    assert identity(Machine("m1")) == identity(Machine("m1"))
    assert not identity(Machine("m1")) & identity(Machine("m2"))


def test_machines_are_named_after_their_firmware() -> None:
    assert [machine.name for machine in machines_from("bios:2,uefi:1")] == ["bios1", "bios2", "uefi1"]


def test_an_unknown_firmware_is_refused_with_the_choices() -> None:
    with pytest.raises(ValueError, match="'coreboot:1' is not FIRMWARE:COUNT with FIRMWARE one of bios, uefi"):
        machines_from("coreboot:1")


# --- with a rack ---


@pytest.fixture(scope="module")
def rack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rack]:
    if found := problems():
        missing("; ".join(found))
    directory = tmp_path_factory.mktemp("rack")
    with Rack(directory) as rack:
        rack.add(Machine("plain", memory_mb=128))
        write_disk(rack.add(Machine("obedient", memory_mb=128)), OBEYS_POWER_BUTTON)
        write_disk(rack.add(Machine("restless", memory_mb=128)), REBOOTS)
        rack.start()
        yield rack


@pytest.fixture
def machine(rack: Rack) -> Iterator[RackMachine]:
    yield rack.machines["plain"]
    rack.machines["plain"].switch_off()


def write_disk(machine: RackMachine, code: bytes) -> None:
    machine.directory.mkdir()
    raw = machine.directory / "sector.raw"
    raw.write_bytes(code.ljust(510, b"\0") + b"\x55\xaa")
    subprocess.run(["qemu-img", "convert", "-q", "-O", "qcow2", str(raw), str(machine.disk)], check=True)
    subprocess.run(["qemu-img", "resize", "-q", str(machine.disk), "64M"], check=True)


def pyghmi(rack: Rack, machine: RackMachine, script: str) -> Any:
    """What `script` leaves in `result`; `bmc` is a pyghmi Command. Run inside the namespace."""
    bmc = machine.bmc
    program = f"""
import json
from pyghmi.ipmi.command import Command
bmc = Command(bmc={bmc.address!r}, userid={bmc.username.encode()!r}, password={bmc.password.encode()!r})
{script}
print(json.dumps(result))
"""
    process = rack.run_in([sys.executable, "-W", "ignore", "-c", program], stdout=subprocess.PIPE)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return json.loads(output)


@pytest.mark.rack
def test_a_machine_is_off_at_first(rack: Rack, machine: RackMachine) -> None:
    assert rack.ipmitool(machine, "power", "status") == "Chassis Power is off"


@pytest.mark.rack
def test_ipmitool_switches_power_and_reads_it_back(rack: Rack, machine: RackMachine) -> None:
    rack.ipmitool(machine, "power", "on")
    assert rack.ipmitool(machine, "power", "status") == "Chassis Power is on"
    assert Path(f"/proc/{machine.state()['pid']}").exists()
    rack.ipmitool(machine, "power", "off")
    assert rack.ipmitool(machine, "power", "status") == "Chassis Power is off"
    assert machine.power_state() == "off"


@pytest.mark.rack
def test_pyghmi_switches_power_and_reads_it_back(rack: Rack, machine: RackMachine) -> None:
    script = """
result = [bmc.get_power()]
for wanted in ("on", "off"):
    bmc.set_power(wanted, wait=20)
    result.append(bmc.get_power())
"""
    assert pyghmi(rack, machine, script) == [{"powerstate": "off"}, {"powerstate": "on"}, {"powerstate": "off"}]


@pytest.mark.rack
def test_a_reset_starts_the_machine_again(rack: Rack, machine: RackMachine) -> None:
    rack.ipmitool(machine, "power", "on")
    first = machine.state()["pid"]
    rack.ipmitool(machine, "power", "reset")
    state = machine.state()
    assert state["boots"][-1]["cause"] == "bmc-reset"
    assert state["pid"] not in (first, None)
    assert rack.ipmitool(machine, "power", "status") == "Chassis Power is on"


@pytest.mark.rack
def test_a_power_cycle_ends_with_the_machine_on(rack: Rack, machine: RackMachine) -> None:
    rack.ipmitool(machine, "power", "on")
    boots = len(machine.state()["boots"])
    rack.ipmitool(machine, "power", "cycle")
    state = machine.wait_for(lambda state: len(state["boots"]) > boots, 10)
    assert (state["power"], state["boots"][-1]["cause"]) == ("on", "power-on")


@pytest.mark.rack
def test_a_reset_of_a_machine_that_is_off_is_refused(rack: Rack, machine: RackMachine) -> None:
    with pytest.raises(RackError, match="Reset failed"):
        rack.ipmitool(machine, "power", "reset")


@pytest.mark.rack
@pytest.mark.parametrize(("device", "order"), [("disk", ["disk", "network"]), ("pxe", ["network", "disk"])])
def test_a_next_boot_is_for_one_boot_only(rack: Rack, machine: RackMachine, device: str, order: list[str]) -> None:
    rack.ipmitool(machine, "chassis", "bootdev", device)
    assert machine.state()["next_boot"] == device
    rack.ipmitool(machine, "power", "on")
    rack.ipmitool(machine, "power", "reset")
    first, second = machine.state()["boots"][-2:]
    assert (first["next_boot"], first["order"]) == (device, order)
    assert (second["next_boot"], second["order"]) == ("none", ["network", "disk"])


@pytest.mark.rack
def test_pyghmi_sets_the_next_boot(rack: Rack, machine: RackMachine) -> None:
    pyghmi(rack, machine, "bmc.set_bootdev('hd'); result = None")
    assert machine.state()["next_boot"] == "disk"


@pytest.mark.rack
def test_the_boot_order_is_in_the_command_line_of_qemu(rack: Rack, machine: RackMachine) -> None:
    rack.ipmitool(machine, "chassis", "bootdev", "disk")
    rack.ipmitool(machine, "power", "on")
    command = Path(f"/proc/{machine.state()['pid']}/cmdline").read_text().split("\0")
    assert option(command, "scsi-hd").endswith("bootindex=1")


@pytest.mark.rack
def test_a_reboot_by_the_guest_uses_the_next_boot_up(rack: Rack) -> None:
    restless = rack.machines["restless"]
    rack.ipmitool(restless, "chassis", "bootdev", "disk")
    rack.ipmitool(restless, "power", "on")
    state = restless.wait_for(lambda state: len(state["boots"]) == 2, 20)
    assert [(boot["cause"], boot["order"][0]) for boot in state["boots"]] == [
        ("power-on", "disk"),
        ("guest-reset", "network"),
    ]
    assert state["power"] == "on"
    restless.switch_off()


@pytest.mark.rack
def test_a_soft_shutdown_lets_the_guest_switch_itself_off(rack: Rack) -> None:
    obedient = rack.machines["obedient"]
    rack.ipmitool(obedient, "chassis", "bootdev", "disk")
    rack.ipmitool(obedient, "power", "on")
    obedient.wait_for(lambda _: "Booting from Hard Disk" in obedient.serial_text(), 20)
    rack.ipmitool(obedient, "power", "soft")
    state = obedient.wait_for(lambda state: state["power"] == "off", 10)
    assert state["last_stop"] == "guest-shutdown"
    assert rack.ipmitool(obedient, "power", "status") == "Chassis Power is off"


@pytest.mark.rack
def test_a_crash_of_qemu_is_seen_as_power_off(rack: Rack, machine: RackMachine) -> None:
    rack.ipmitool(machine, "power", "on")
    os.kill(machine.state()["pid"], signal.SIGKILL)
    machine.wait_for(lambda state: state["power"] == "off", 10)
    assert rack.ipmitool(machine, "power", "status") == "Chassis Power is off"


@pytest.mark.rack
def test_a_bmc_that_restarts_knows_the_power_state(rack: Rack, machine: RackMachine) -> None:
    rack.ipmitool(machine, "power", "on")
    machine.stop_bmc()
    machine.start_bmc()
    assert rack.ipmitool(machine, "power", "status") == "Chassis Power is on"


@pytest.mark.rack
def test_a_machine_that_goes_off_while_its_bmc_is_busy_does_not_end_the_bmc(rack: Rack, machine: RackMachine) -> None:
    pid = machine.state()["bmc_pid"]
    machine.freeze_bmc()
    machine.switch_on()
    machine.switch_off()
    machine.thaw_bmc()
    assert rack.ipmitool(machine, "power", "status") == "Chassis Power is off"
    assert machine.state()["bmc_pid"] == pid


@pytest.mark.rack
def test_a_bmc_that_fails_starts_again(rack: Rack, machine: RackMachine) -> None:
    pid = machine.state()["bmc_pid"]
    os.kill(pid, signal.SIGKILL)
    machine.wait_for(lambda state: state["bmc_pid"] not in (pid, None), 20)
    assert rack.ipmitool(machine, "power", "status") == "Chassis Power is off"


@pytest.mark.rack
def test_a_wrong_password_is_refused(rack: Rack, machine: RackMachine) -> None:
    script = """
from pyghmi.exceptions import IpmiException
try:
    Command(bmc=bmc.bmc, userid=b"admin", password=b"wrong")
    result = "let in"
except IpmiException as error:
    result = str(error)
"""
    assert "password" in pyghmi(rack, machine, script).lower()


@pytest.mark.rack
def test_sockets_bound_outside_are_handed_over(rack: Rack) -> None:
    script = """
import os, socket
assert os.environ["LISTEN_PID"] == str(os.getpid())
names = os.environ["LISTEN_FDNAMES"].split(":")
ports = [socket.socket(fileno=3 + number).getsockname()[1] for number in range(int(os.environ["LISTEN_FDS"]))]
print(*names, *ports)
"""
    with socket.create_server(("127.0.0.1", 0)) as ui, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as dhcp:
        dhcp.bind(("127.0.0.1", 0))
        handed = {"ui": ui, "dhcp": dhcp}
        program = rack.run_in([sys.executable, "-c", script], sockets=handed, stdout=subprocess.PIPE, text=True)
        output, _ = program.communicate(timeout=30)
        assert output.split() == ["ui", "dhcp", str(ui.getsockname()[1]), str(dhcp.getsockname()[1])]


@pytest.mark.rack
def test_a_neighbour_answers_at_an_address_of_its_own(rack: Rack) -> None:
    start_neighbour(rack, IPv4Interface("10.77.0.2/24"), [sys.executable, "-IS", "-c", GREETS])
    ours = rack.run_in([sys.executable, "-IS", "-c", HEARS], stdout=subprocess.PIPE, text=True)
    assert ours.communicate(timeout=END_SECONDS)[0] == "here\n"


@pytest.mark.rack
def test_a_second_rack_of_the_same_name_is_refused(rack: Rack, tmp_path: Path) -> None:
    with Rack(tmp_path, name=rack.name) as other, pytest.raises(RackError, match="is running"):
        other.start()
    assert (NETNS_DIR / rack.name).exists()


# --- what is left behind ---


@pytest.fixture
def small(rack: Rack, tmp_path: Path) -> Rack:
    """A rack of its own beside the one of the other tests, so that two are up at once."""
    small = Rack(tmp_path)
    small.add(Machine("m1", memory_mb=128))
    return small


def pids_of(rack: Rack) -> list[int]:
    output = subprocess.run(["ip", "netns", "pids", rack.name], capture_output=True, text=True, check=True).stdout
    return [int(word) for word in output.split()]


def watch(pids: list[int]) -> list[int]:
    """File descriptors that become readable when the processes end."""
    return [os.pidfd_open(pid) for pid in pids]


def wait_until_ended(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        assert select.select([descriptor], [], [], END_SECONDS)[0], "a process did not end"
        os.close(descriptor)


def assert_nothing_is_left(name: str) -> None:
    assert not (NETNS_DIR / name).exists()
    assert not (RUN_DIR / name).exists()


@pytest.mark.rack
def test_a_stopped_rack_leaves_nothing(small: Rack) -> None:
    small.start()
    small.ipmitool(small.machines["m1"], "power", "on")
    small.run_in(["sleep", "1000"])
    ended = watch(pids_of(small))
    small.stop()
    wait_until_ended(ended)
    assert_nothing_is_left(small.name)


@pytest.mark.rack
def test_an_exception_leaves_nothing(small: Rack) -> None:
    with pytest.raises(ZeroDivisionError), small:
        small.start()
        ended = watch(pids_of(small))
        raise ZeroDivisionError
    wait_until_ended(ended)
    assert_nothing_is_left(small.name)


def bring_up_elsewhere(name: str, directory: Path) -> subprocess.Popen[str]:
    """A rack in a process of its own, up when this returns."""
    command = [
        sys.executable,
        "-m",
        "tests.rack",
        "up",
        "--machines",
        "bios:1",
        "--dir",
        str(directory),
        "--name",
        name,
    ]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert any("Ctrl-C ends it" in line for line in process.stdout)
    return process


def supervisor_of(name: str) -> int:
    return int((RUN_DIR / name / "owner").read_text())


@pytest.mark.rack
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_rack_whose_user_ends_by_a_signal_leaves_nothing(small: Rack, tmp_path: Path, number: signal.Signals) -> None:
    with bring_up_elsewhere(small.name, tmp_path) as process:
        ended = watch([*pids_of(small), supervisor_of(small.name)])
        process.send_signal(number)
        process.wait(END_SECONDS)
    wait_until_ended(ended)
    assert_nothing_is_left(small.name)


@pytest.mark.rack
def test_what_a_killed_supervisor_left_is_swept(small: Rack, tmp_path: Path) -> None:
    with bring_up_elsewhere(small.name, tmp_path) as process:
        ended = watch(pids_of(small))
        os.kill(supervisor_of(small.name), signal.SIGKILL)
        wait_until_ended(ended)
        process.kill()
    # What the supervisor was starting just then holds its lock for a moment longer.
    deadline = monotonic() + END_SECONDS
    while small.name not in sweep() and (RUN_DIR / small.name).exists():
        assert monotonic() < deadline, "it was not swept"
        sleep(0.05)
    assert_nothing_is_left(small.name)
