"""A machine's timeline by boots and phases."""

from datetime import UTC, datetime, timedelta

from provisioner.events import Event
from provisioner.services.ui_boots import boots

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

UEFI_BOOT = [
    (0, "dhcp.offer", "10.0.0.9", {"request": "DISCOVER", "firmware": "UEFI x64"}),
    (1, "dhcp.ack", "10.0.0.9", {}),
    (2, "tftp.read", "ipxe/snponly.efi", {}),
    (4, "dhcp.discover", "", {"firmware": "iPXE on UEFI"}),
    (5, "dhcp.ack", "10.0.0.9", {}),
    (6, "boot.render", "discovery", {}),
    (7, "http.read", "discovery/vmlinuz", {}),
    (9, "http.read", "discovery/initrd.img", {}),
    (16, "dhcp.discover", "", {"hostname": "provisioner"}),
    (17, "dhcp.ack", "10.0.0.9", {}),
    (18, "http.read", "agent.pyz", {}),
    (19, "machine.create", "m1", {}),
    (19, "agent.register", "m1", {}),
    (20, "agent.hello", "m1", {"boot_id": "b1", "bootenv": "discovery"}),
    (20, "machine.runnable", "m1", {"runnable": True}),
    (21, "job.create", "j1", {"task": "a"}),
]


def told(*steps):
    return [
        Event(id=number, time=START + timedelta(seconds=after), kind=kind, key=key, data=data)
        for number, (after, kind, key, data) in enumerate(steps, 1)
    ]


def later(steps, seconds):
    return [(after + seconds, kind, key, data) for after, kind, key, data in steps]


def shape(found):
    return [(boot.number, [phase.name for phase in boot.phases]) for boot in found]


def test_nothing_has_happened_yet():
    assert boots([]) == ()


def test_a_netboot_has_four_phases_with_their_durations():
    (boot,) = boots(told(*UEFI_BOOT))
    assert shape([boot]) == [(1, ["firmware", "loader", "system", "work"])]
    assert [phase.seconds for phase in boot.phases] == [4, 12, 4, 1]
    assert (boot.bootenv, boot.up_seconds, boot.count) == ("discovery", 20, len(UEFI_BOOT))


def test_a_card_with_ipxe_in_its_rom_begins_with_the_loader():
    found = boots(told((0, "dhcp.discover", "", {"firmware": "iPXE on BIOS"}), *UEFI_BOOT[5:]))
    assert shape(found) == [(1, ["loader", "system", "work"])]


def test_what_happened_before_the_first_boot_stands_apart():
    found = boots(told((-60, "machine.create", "m1", {}), (-50, "machine.workflow", "m1", {}), *UEFI_BOOT))
    assert shape(found)[0] == (0, ["before"])
    assert found[1].number == 1


def test_power_on_begins_the_boot():
    found = boots(told((-9, "power.request", "power-on", {}), (-8, "power.done", "power-on", {}), *UEFI_BOOT))
    assert shape(found) == [(1, ["power", "firmware", "loader", "system", "work"])]
    assert found[0].up_seconds == 29


def test_asking_for_the_power_state_begins_nothing():
    found = boots(told(*UEFI_BOOT, (30, "power.request", "power-status", {}), (31, "power.done", "power-status", {})))
    assert len(found) == 1


def test_a_power_cycle_begins_a_new_boot_wherever_it_comes():
    cycled = [(30, "power.request", "power-cycle", {}), *later(UEFI_BOOT[:4], 33)]
    for stop in (2, 5, 9, len(UEFI_BOOT)):
        found = boots(told(*UEFI_BOOT[:stop], *cycled))
        assert shape(found)[-1] == (2, ["power", "firmware", "loader"])


def test_a_reboot_into_the_disk_is_the_next_boot():
    found = boots(
        told(
            *UEFI_BOOT,
            (40, "agent.reboot", "local", {}),
            (41, "power.request", "next-boot-disk", {}),
            (42, "power.done", "next-boot-disk", {}),
            (70, "dhcp.discover", "", {"firmware": "UEFI x64"}),
            (71, "boot.local", "local", {}),
            (80, "dhcp.discover", "", {"hostname": "n1"}),
            (85, "agent.hello", "m1", {"boot_id": "b2", "bootenv": "local"}),
            (86, "machine.complete", "m1", {}),
        )
    )
    assert shape(found) == [
        (1, ["firmware", "loader", "system", "work", "reboot"]),
        (2, ["firmware", "disk", "system", "work"]),
    ]
    assert found[1].bootenv == "local"


def test_a_disk_boot_without_any_dhcp_is_seen_by_its_agent():
    found = boots(told(*UEFI_BOOT, (90, "agent.hello", "m1", {"boot_id": "b2", "bootenv": "local"})))
    assert shape(found)[1] == (2, ["system"])
    assert found[1].up_seconds == 0


def test_an_agent_that_starts_again_in_the_same_boot_begins_nothing():
    found = boots(told(*UEFI_BOOT, (90, "agent.hello", "m1", {"boot_id": "b1", "bootenv": "discovery"})))
    assert len(found) == 1


def test_an_offer_that_does_not_say_who_asked_begins_nothing():
    first = [(0, "dhcp.discover", "", {"firmware": "UEFI x64"}), (0, "dhcp.offer", "10.0.0.9", {})]
    assert shape(boots(told(*first, *UEFI_BOOT[1:]))) == shape(boots(told(*UEFI_BOOT)))


def test_a_running_system_renews_its_address_in_the_same_boot():
    found = boots(told(*UEFI_BOOT, (1800, "dhcp.request", "10.0.0.9", {}), (1800, "dhcp.ack", "10.0.0.9", {})))
    assert len(found) == 1


def test_a_machine_that_resets_itself_is_seen_by_its_firmware():
    found = boots(told(*UEFI_BOOT, *later(UEFI_BOOT[:4], 300)))
    assert shape(found)[1] == (2, ["firmware", "loader"])


def test_a_boot_loop_shows_each_turn():
    found = boots(told(*UEFI_BOOT[:8], *later(UEFI_BOOT[:8], 60), *later(UEFI_BOOT[:8], 120)))
    assert shape(found) == [(number, ["firmware", "loader"]) for number in (1, 2, 3)]
    assert all(boot.up_seconds is None and boot.bootenv == "discovery" for boot in found)


def test_the_bar_is_a_thousand_wide_and_ends_where_the_machine_is_up():
    (boot,) = boots(told(*UEFI_BOOT))
    names, widths = [part[0] for part in boot.bar], [part[3] for part in boot.bar]
    assert names == ["firmware", "loader", "system"]
    assert widths == [200, 600, 200]
    assert [part[2] for part in boot.bar] == [0, 200, 800]


def test_a_boot_that_is_not_up_has_no_bar():
    assert boots(told(*UEFI_BOOT[:6]))[0].bar == ()


def test_a_boot_over_ipv6_has_the_same_phases():
    steps = [
        (0, "dhcp6.advertise", "fd00::9", {"request": "SOLICIT", "firmware": "UEFI x64 HTTP"}),
        (0, "dhcp6.advertise", "fd00::9", {"request": "SOLICIT"}),
        (1, "dhcp6.reply", "fd00::9", {"request": "REQUEST", "firmware": "UEFI x64 HTTP"}),
        (2, "http.read", "/files/ipxe/snponly.efi", {}),
        (4, "dhcp6.reply", "fd00::9", {"request": "SOLICIT", "firmware": "iPXE on UEFI x64"}),
        (6, "boot.render", "discovery", {}),
        (19, "agent.register", "m1", {}),
        (20, "agent.hello", "m1", {"boot_id": "b1", "bootenv": "discovery"}),
        (21, "job.create", "j1", {"task": "a"}),
    ]
    assert shape(boots(told(*steps))) == [(1, ["firmware", "loader", "system", "work"])]
