"""Folders that look like /sys and /proc of a machine."""

from pathlib import Path


class Link(str):
    """A symbolic link to this target."""


def plant(root: Path, files: dict[str, str | bytes | Link]) -> str:
    """Make files and links below a root; a path that ends in / is a folder. The root as text."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            path.mkdir(exist_ok=True)
        elif isinstance(content, Link):
            path.symlink_to(content)
        elif isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content)
    return str(root)


PCI = "sys/devices/pci0000:00/0000:00:1f.2"

# A server with two sockets of two cores of two threads, and a disk of each kind.
SERVER: dict[str, str | bytes | Link] = {
    **{
        f"sys/devices/system/cpu/cpu{number}/topology/{name}": f"{value}\n"
        for number in range(8)
        for name, value in (("physical_package_id", number // 4), ("core_id", number // 2 % 2))
    },
    "sys/devices/system/cpu/cpufreq/": "",
    "proc/cpuinfo": "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Intel(R) Xeon(R) E5-2620\n\n",
    "proc/meminfo": "MemTotal:       32768000 kB\nMemFree:        1 kB\n",
    # a SATA disk
    f"{PCI}/ata1/host0/target0:0:0/0:0:0:0/model": "SAMSUNG MZ7LM240\n",
    f"{PCI}/ata1/host0/target0:0:0/0:0:0:0/vendor": "ATA     \n",
    f"{PCI}/ata1/host0/target0:0:0/0:0:0:0/type": "0\n",
    f"{PCI}/ata1/host0/target0:0:0/0:0:0:0/wwid": "naa.5002538c00000001\n",
    f"{PCI}/ata1/host0/target0:0:0/0:0:0:0/vpd_pg80": b"\x00\x80\x00\x10  S1YKNX0H000001",
    f"{PCI}/ata1/host0/target0:0:0/0:0:0:0/block/sda/device": Link("../../../0:0:0:0"),
    f"{PCI}/ata1/host0/target0:0:0/0:0:0:0/block/sda/size": "468862128\n",
    f"{PCI}/ata1/host0/target0:0:0/0:0:0:0/block/sda/queue/rotational": "0\n",
    f"{PCI}/ata1/host0/target0:0:0/0:0:0:0/block/sda/queue/logical_block_size": "4096\n",
    f"{PCI}/ata1/host0/target0:0:0/0:0:0:0/block/sda/sda1/partition": "1\n",
    f"{PCI}/ata1/host0/target0:0:0/0:0:0:0/block/sda/sda1/size": "2048\n",
    "sys/block/sda": Link(f"../../{PCI}/ata1/host0/target0:0:0/0:0:0:0/block/sda"),
    # an NVMe disk
    "sys/devices/pci0000:00/0000:01:00.0/nvme/nvme0/model": "INTEL SSDPE2KX010T8\n",
    "sys/devices/pci0000:00/0000:01:00.0/nvme/nvme0/serial": "PHLJ0000001\n",
    "sys/devices/pci0000:00/0000:01:00.0/nvme/nvme0/nvme0n1/device": Link("../../nvme0"),
    "sys/devices/pci0000:00/0000:01:00.0/nvme/nvme0/nvme0n1/wwid": "eui.01000000010000005CD2E4\n",
    "sys/devices/pci0000:00/0000:01:00.0/nvme/nvme0/nvme0n1/size": "1953525168\n",
    "sys/block/nvme0n1": Link("../devices/pci0000:00/0000:01:00.0/nvme/nvme0/nvme0n1"),
    # a hidden path of a multipath NVMe disk
    "sys/devices/pci0000:00/0000:01:00.0/nvme/nvme0/nvme0c0n1/device": Link("../../nvme0"),
    "sys/devices/pci0000:00/0000:01:00.0/nvme/nvme0/nvme0c0n1/hidden": "1\n",
    "sys/block/nvme0c0n1": Link("../devices/pci0000:00/0000:01:00.0/nvme/nvme0/nvme0c0n1"),
    # a virtio disk
    "sys/devices/pci0000:00/0000:00:04.0/virtio1/vendor": "0x1af4\n",
    "sys/devices/pci0000:00/0000:00:04.0/virtio1/block/vda/device": Link("../../../virtio1"),
    "sys/devices/pci0000:00/0000:00:04.0/virtio1/block/vda/serial": "disk-1\n",
    "sys/devices/pci0000:00/0000:00:04.0/virtio1/block/vda/size": "8388608\n",
    "sys/devices/pci0000:00/0000:00:04.0/virtio1/block/vda/queue/rotational": "1\n",
    "sys/block/vda": Link("../devices/pci0000:00/0000:00:04.0/virtio1/block/vda"),
    # a RAID controller of the old kind, of which udev knows more than the kernel
    "sys/devices/pci0000:00/0000:03:00.0/cciss0/cciss!c0d0/device": Link("../../cciss0"),
    "sys/devices/pci0000:00/0000:03:00.0/cciss0/cciss!c0d0/dev": "104:0\n",
    "sys/devices/pci0000:00/0000:03:00.0/cciss0/cciss!c0d0/size": "100\n",
    "run/udev/data/b104:0": "S:disk/by-id/x\nE:ID_SERIAL_SHORT=P1234\nE:ID_WWN=0x600508B1\nE:ID_MODEL=LOGICAL_VOLUME\n",
    "sys/block/cciss!c0d0": Link("../devices/pci0000:00/0000:03:00.0/cciss0/cciss!c0d0"),
    # none of these is a disk
    "sys/devices/virtual/block/loop0/size": "8\n",
    "sys/block/loop0": Link("../devices/virtual/block/loop0"),
    f"{PCI}/ata2/host1/target1:0:0/1:0:0:0/type": "5\n",
    f"{PCI}/ata2/host1/target1:0:0/1:0:0:0/block/sr0/device": Link("../../../1:0:0:0"),
    "sys/block/sr0": Link(f"../../{PCI}/ata2/host1/target1:0:0/1:0:0:0/block/sr0"),
    # network cards
    "sys/devices/pci0000:00/0000:00:03.0/vendor": "0x1af4\n",
    "sys/devices/pci0000:00/0000:00:03.0/device": "0x1000\n",
    "sys/devices/pci0000:00/0000:00:03.0/class": "0x020000\n",
    "sys/devices/pci0000:00/0000:00:03.0/subsystem_vendor": "0x1af4\n",
    "sys/devices/pci0000:00/0000:00:03.0/subsystem_device": "0x0001\n",
    "sys/devices/pci0000:00/0000:00:03.0/driver": Link("../../../bus/pci/drivers/virtio-pci"),
    "sys/bus/pci/devices/0000:00:03.0": Link("../../../devices/pci0000:00/0000:00:03.0"),
    "sys/devices/pci0000:00/0000:00:03.0/virtio0/driver": Link("../../../../bus/virtio/drivers/virtio_net"),
    "sys/devices/pci0000:00/0000:00:03.0/virtio0/net/eth0/device": Link("../../../virtio0"),
    "sys/devices/pci0000:00/0000:00:03.0/virtio0/net/eth0/address": "52:54:00:AA:BB:CC\n",
    "sys/devices/pci0000:00/0000:00:03.0/virtio0/net/eth0/carrier": "1\n",
    "sys/devices/pci0000:00/0000:00:03.0/virtio0/net/eth0/speed": "10000\n",
    "sys/devices/pci0000:00/0000:00:03.0/virtio0/net/eth0/mtu": "1500\n",
    "sys/class/net/eth0": Link("../../devices/pci0000:00/0000:00:03.0/virtio0/net/eth0"),
    "sys/devices/pci0000:00/0000:05:00.1/net/eth1/device": Link("../../../0000:05:00.1"),
    "sys/devices/pci0000:00/0000:05:00.1/net/eth1/address": "52:54:00:aa:bb:dd\n",
    "sys/devices/pci0000:00/0000:05:00.1/net/eth1/carrier": "0\n",
    "sys/devices/pci0000:00/0000:05:00.1/net/eth1/speed": "-1\n",
    "sys/class/net/eth1": Link("../../devices/pci0000:00/0000:05:00.1/net/eth1"),
    "sys/devices/virtual/net/lo/address": "00:00:00:00:00:00\n",
    "sys/class/net/lo": Link("../../devices/virtual/net/lo"),
    # what it calls itself
    "sys/class/dmi/id/sys_vendor": "Dell Inc.\n",
    "sys/class/dmi/id/product_name": "PowerEdge R640\n",
    "sys/class/dmi/id/product_serial": "ABC1234\n",
    "sys/class/dmi/id/product_uuid": "4C4C4544-0042-3310-8034-B4C04F4A3132\n",
    "sys/class/dmi/id/board_serial": ".ABC1234.CN7016\n",
    "sys/class/dmi/id/chassis_serial": "To Be Filled By O.E.M.\n",
    "sys/class/dmi/id/chassis_asset_tag": "Default string\n",
    "sys/class/dmi/id/chassis_type": "23\n",
    "sys/class/dmi/id/bios_version": "2.10.2\n",
    "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c": b"\x06\x00\x00\x00\x01",
    "proc/cmdline": "quiet BOOTIF=01-52-54-00-aa-bb-cc\n",
    "proc/sys/kernel/random/boot_id": "11111111-aaaa\n",
    "proc/sys/kernel/osrelease": "6.1.0-18-amd64\n",
    "proc/sys/kernel/hostname": "discovery\n",
    "etc/os-release": 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\n',
}
