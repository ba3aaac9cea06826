"""How OpenIPMI's `ipmi_sim` is told to be the BMC of one machine.

The BMC listens on its own address, asks `hook.py` for power and boot device, and is also the BMC that the machine
itself sees (a KCS interface that QEMU connects by TCP). Its console is the machine's serial port (serial over LAN).
"""

from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from textwrap import dedent

from tests.rack.machine import Attachment, Machine

IPMI_PORT = 623
USER = "admin"
# `ipmi_sim` reads passwords as at most 20 bytes (IPMI 2.0) and keeps 16 of them for IPMI 1.5.
PASSWORD_LENGTH = 16
# Longer lines of its configuration file are cut in two by `ipmi_sim`.
MAX_LINE = 1023


@dataclass(frozen=True)
class BmcAccess:
    """Where a BMC is and how to log in."""

    address: str
    username: str
    password: str
    port: int = IPMI_PORT


def access(machine: Machine, address: str) -> BmcAccess:
    """The login of the machine's BMC. Every machine has another password."""
    return BmcAccess(address, USER, f"secret-{machine.name}"[:PASSWORD_LENGTH])


def write_configuration(
    directory: Path, machine: Machine, at: Attachment, bmc: BmcAccess, hook_command: list[str]
) -> list[str]:
    """Write the BMC's files into `directory`; answers the command that runs it."""
    state = directory / "state"
    state.mkdir(parents=True, exist_ok=True)
    lan = directory / "lan.conf"
    startup = directory / "bmc.emu"
    lan.write_text(_lan_conf(machine, at, bmc, hook_command))
    lan.chmod(0o600)
    startup.write_text(_STARTUP)
    # A machine that goes off while `ipmi_sim` greets it leaves a closed connection, and writing to that would end it.
    lasting = ["env", "--ignore-signal=PIPE"]
    # -n: no command console on standard input. -p: no state from an earlier run, its passwords would win.
    return [*lasting, "ipmi_sim", "-n", "-p", "-c", str(lan), "-f", str(startup), "-s", str(state)]


def _lan_conf(machine: Machine, at: Attachment, bmc: BmcAccess, hook_command: list[str]) -> str:
    hook = " ".join(quote(word) for word in hook_command)
    text = dedent(f"""\
        name "{machine.name}"
        set_working_mc 0x20
        startlan 1
          addr {bmc.address} {bmc.port}
          priv_limit admin
          allowed_auths_callback md5
          allowed_auths_user md5
          allowed_auths_operator md5
          allowed_auths_admin md5
          guid {machine.smbios_uuid.replace("-", "")}
          lan_config_program "{hook}"
        endlan
        chassis_control "{hook}"
        serial 15 127.0.0.1 {at.kcs_port} codec VM
        sol "tcp:127.0.0.1:{at.console_port}" 115200
        startnow false
        user 1 false "" "" user 10
        user 2 true "{bmc.username}" "{bmc.password}" admin 10
        """)
    long = [line for line in text.splitlines() if len(line) > MAX_LINE]
    if long:
        raise ValueError(f"ipmi_sim cannot read a line this long, use a shorter directory: {long[0]}")
    return text


# One management controller with a watchdog sensor (it must be sensor 0) and a temperature.
_STARTUP = r"""mc_setbmc 0x20
mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr
sel_enable 0x20 1000 0x0a
sensor_add 0x20 0 0 35 0x6f event-only
sensor_set_event_support 0x20 0 0 enable scanning per-state \
    000000000001111 000000000000000 000000000001111 000000000000000
sensor_add 0x20 0 1 0x01 0x01
sensor_set_value 0x20 0 1 0x60 0
mc_enable 0x20
"""
