"""What the demo's machines are made of, and what their tasks write."""

from __future__ import annotations

from typing import Any

DISK_WWN = "0x5002538e40a1b2c3"

INVENTORY_LOG = """reading processors, memory, disks, network cards
listening for switches for 35 seconds
inventory sent: 3 disks, 4 nics, 41 pci
"""
NETWORK_LOG = """booted by ens3f0np0, 3c:ec:ef:5a:10:02, 10.77.0.12/24
network/boot-interface = ens3f0np0
"""
BMC_LOG = """BMC at 10.77.1.2 (DHCP), channel 1
power/address = 10.77.1.2
"""
GRANT_LOG = """chosen: /dev/nvme0n1  960.2 GB  SAMSUNG MZQL2960HCJR-00A07  S64FNE0R123456
\x1b[33mit holds data:\x1b[0m GPT with 3 partitions, ext4, LVM2
erase grant of user:admin names 0x5002538e40a1b2c3: it may be erased
"""
SETTINGS_LOG = """mounting partition 3 of /dev/nvme0n1
hostname, 2 SSH keys, network by MAC, agent 0.1.0
unmounted, flushed
"""
OS_LOG = """Debian GNU/Linux 12 (bookworm), kernel 6.1.0-37-amd64
hostname is right, root has grown to 960.2 GB
"""


def _image_log() -> str:
    lines = [
        "\x1b[1mdebian-12\x1b[0m from http://10.77.0.1:8091/files/images/debian-12.img.zst",
        "fetching it once to check it: 312.4 MiB, SHA-256 \x1b[32mis right\x1b[0m",
        "writing to /dev/nvme0n1, the first MiB last",
    ]
    for place in range(40):
        done = place * 51
        speed = f"\x1b[2m{190 + place % 7 * 4}.3 MiB/s\x1b[0m"
        lines.append(f"\x1b[36mwrite\x1b[0m  {place * 2.5:3.0f} %  {done:7.1f} MiB of 2040.0 MiB  {speed}")
    lines += ["\x1b[36mwrite\x1b[0m  100 %  2040.0 MiB of 2040.0 MiB", "reading back: \x1b[32mthe same\x1b[0m"]
    return "\n".join(lines) + "\n"


IMAGE_LOG = _image_log()
BROKEN_LOG = """\x1b[1mdebian-12\x1b[0m from http://10.77.0.1:8091/files/images/debian-12.img.zst
fetching it once to check it: 312.4 MiB
\x1b[31mSHA-256 is 9f1c…77e0, should be 41ab…03d2\x1b[0m
\x1b[31mthe image is damaged or its checksum is old; nothing was written\x1b[0m
"""


def server(number: int) -> dict[str, Any]:
    """The inventory of a two-socket server."""
    return {
        "cpu": {
            "model": "AMD EPYC 7313 16-Core Processor",
            "vendor": "AuthenticAMD",
            "sockets": 2,
            "cores": 32,
            "threads": 64,
            "arch": "amd64",
        },
        "memory": {"total_bytes": 269_893_013_504, "modules": [_module(slot) for slot in range(8)]},
        "disks": [
            _disk(
                "nvme0n1", 960_197_124_096, "SAMSUNG MZQL2960HCJR-00A07", f"S64FNE0R1234{number:02}", DISK_WWN, False
            ),
            _disk(
                "sda", 12_000_138_625_024, "HGST HUH721212AL", f"8HK{number:02}ZJN", f"0x5000cca26f{number:06x}", True
            ),
            _disk(
                "sdb", 12_000_138_625_024, "HGST HUH721212AL", f"8HK{number:02}ZKP", f"0x5000cca270{number:06x}", True
            ),
        ],
        "nics": [
            _nic("ens3f0np0", number, 0, 25000, "leaf-1a", f"Ethernet1/{number}"),
            _nic("ens3f1np1", number, 1, 25000, "leaf-1b", f"Ethernet1/{number}"),
            _nic("eno1", number, 2, 1000, "mgmt-1", f"ge-0/0/{number}"),
            _nic("eno2", number, 3, None, "", ""),
        ],
        "pci": [
            _pci("0000:00:00.0", "060000", "1022", "1480", ""),
            _pci("0000:21:00.0", "010802", "144d", "a80a", "nvme"),
            _pci("0000:41:00.0", "020000", "15b3", "1017", "mlx5_core"),
            _pci("0000:41:00.1", "020000", "15b3", "1017", "mlx5_core"),
            _pci("0000:61:00.0", "010700", "1000", "00e6", "mpt3sas"),
            _pci("0000:c2:00.0", "030000", "1a03", "2000", "ast"),
        ],
        "dmi": {
            "vendor": "Supermicro",
            "product": "AS-2024US-TRT",
            "version": "0123456789",
            "serial": f"S4112{number:02}X1C0{number:02}",
            "uuid": f"6f9a2c50-1d0b-11ec-8000-3cecef5a10{number:02x}",
            "asset_tag": f"R1-{number:02}",
            "board_vendor": "Supermicro",
            "board_product": "H12DSU-iN",
            "board_serial": f"OM21BS0{number:02}",
            "chassis_vendor": "Supermicro",
            "chassis_serial": f"C2190KL{number:02}",
            "bios_vendor": "American Megatrends Inc.",
            "bios_version": "2.4",
            "bios_date": "04/12/2022",
        },
        "bmc": {
            "address": f"10.77.1.{number}",
            "source": "DHCP Address",
            "netmask": "255.255.255.0",
            "mac": f"3c:ec:ef:5a:20:{number:02x}",
            "gateway": "10.77.1.254",
            "vlan": "Disabled",
            "channel": "1",
        },
        "boot": {
            "mode": "uefi",
            "secure_boot": False,
            "interface": "ens3f0np0",
            "mac": f"3c:ec:ef:5a:10:{number:02x}",
            "id": f"0b7e7f6e-2f6f-4f5d-9d43-5a1000000{number:03}",
        },
        "os": {"kernel": "6.1.0-37-amd64", "id": "debian", "version": "12", "name": "Debian GNU/Linux 12 (bookworm)"},
    }


def _module(slot: int) -> dict[str, Any]:
    return {
        "slot": f"P{slot // 4 + 1}-DIMM{'ABCD'[slot % 4]}1",
        "bank": f"P{slot // 4} CHANNEL {'ABCD'[slot % 4]}",
        "size_bytes": 34_359_738_368,
        "type": "DDR4",
        "speed_mts": 3200,
        "vendor": "Samsung",
        "part": "M393A4K40DB3-CWE",
        "serial": f"H0KE00{slot:02}4421",
    }


def _disk(name: str, count: int, model: str, serial: str, wwn: str, rotational: bool) -> dict[str, Any]:
    return {
        "name": name,
        "path": f"/dev/{name}",
        "size_bytes": count,
        "sector_bytes": 512,
        "model": model,
        "vendor": "",
        "serial": serial,
        "wwn": wwn,
        "rotational": rotational,
        "removable": False,
        "read_only": False,
        "transport": "sas" if rotational else "nvme",
        "partitions": [] if rotational else [{"name": f"{name}p1", "size_bytes": 1_048_576}],
    }


def _nic(name: str, number: int, place: int, mbps: int | None, switch: str, port: str) -> dict[str, Any]:
    lldp = {"chassis": "44:4c:a8:11:22:33", "port": port, "system_name": switch} if switch else {}
    return {
        "name": name,
        "mac": f"3c:ec:ef:5a:1{place}:{number:02x}",
        "current_mac": f"3c:ec:ef:5a:1{place}:{number:02x}",
        "driver": "mlx5_core" if place < 2 else "igb",
        "speed_mbps": mbps,
        "link": mbps is not None,
        "mtu": 1500,
        "pci": f"0000:41:00.{place}",
        "addresses": [f"10.77.0.{10 + number}"] if place == 0 else [],
        "lldp": lldp,
    }


def _pci(address: str, code: str, vendor: str, device: str, driver: str) -> dict[str, str]:
    return {"address": address, "class": code, "vendor": vendor, "device": device, "driver": driver}
