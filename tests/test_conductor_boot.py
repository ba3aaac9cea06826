"""Boot scripts: which environment, with which ticket, and what is told of it."""

import re

import pytest

from provisioner.access import digest
from provisioner.conductor.boot import Reached
from provisioner.errors import Conflict, Invalid
from provisioner.model import Lease, LeaseState, Machine, Token
from tests.parts import MAC, OPERATOR, OTHER_MAC, START, opened

REACHED = Reached("10.0.0.1", "http://10.0.0.1:8091")


@pytest.fixture
async def parts(tmp_path):
    async with opened(tmp_path) as parts:
        yield parts


async def script(parts, mac=MAC):
    return (await parts.boot.script(mac, REACHED, "tftp", "10.0.0.50")).decode()


def ticket_in(text):
    return re.search(r"provisioner\.ticket=(\S+)", text).group(1)


async def test_an_unknown_machine_boots_the_environment_for_strangers(parts):
    text = await script(parts)
    assert text.startswith("#!ipxe\nkernel http://10.0.0.1:8091/files/discovery/vmlinuz provisioner.url=http://10.0")
    assert "initrd http://10.0.0.1:8091/files/discovery/initrd.img\n" in text
    assert await parts.events("boot") == [("discovery", {"protocol": "tftp", "bytes": len(text)})]
    assert list(parts.ledger.all(Machine)) == []


async def test_the_ticket_of_a_script_registers_the_machine(parts):
    assert (await parts.register(ticket=ticket_in(await script(parts)))).created


async def test_every_script_has_a_new_ticket_and_ends_the_one_before(parts):
    first, second = ticket_in(await script(parts)), ticket_in(await script(parts))
    assert first != second
    with pytest.raises(Exception, match="boot from the network again"):
        await parts.register(ticket=first)
    assert (await parts.register(ticket=second)).created


async def test_a_machine_that_belongs_on_its_disk_gets_no_ticket(parts):
    await parts.ready(bootenv="local", name="n1")
    before = len(parts.ledger.tokens_of(MAC))
    assert await script(parts) == "#!ipxe\necho n1\nexit 1\n"
    assert len(parts.ledger.tokens_of(MAC)) == before
    assert (await parts.events("boot"))[-1][0] == "local" and len(await parts.events("boot.local")) == 1


async def test_a_known_machine_boots_what_its_work_needs(parts):
    await parts.ready(bootenv="local", workflow="discover")
    assert "discovery/vmlinuz" in await script(parts)


async def test_a_script_that_cannot_be_rendered_is_an_event_and_gives_no_ticket(parts):
    await parts.ready(bootenv="picky")
    before = len(parts.ledger.tokens_of(MAC))
    with pytest.raises(Invalid, match=f"boot script for {MAC}: .*needed") as caught:
        await script(parts)
    assert caught.value.code == "boot-script" and len(parts.ledger.tokens_of(MAC)) == before
    ((key, data),) = await parts.events("boot")
    assert key == "picky" and "needed" in data["message"] and data["protocol"] == "tftp"


async def test_an_environment_without_the_machines_architecture_says_what_it_has(parts):
    machine = await parts.ready()
    await parts.change(machine, arch="arm64")
    with pytest.raises(Invalid, match="bootenv 'discovery' has nothing for arm64; it has amd64"):
        await script(parts)


async def test_secrets_do_not_reach_boot_scripts(parts):
    await parts.ready(bootenv="picky", params={"needed": "open", "secret": "hidden"})
    assert "open" in (text := await script(parts)) and "hidden" not in text


async def test_a_file_fetched_is_told_in_the_timeline_of_who_has_the_address(parts):
    machine = await parts.ready()
    tx = parts.ledger.transaction()
    tx.put(Lease(address="10.0.0.50", mac=MAC, state=LeaseState.ACKED, expires_at=START))
    await tx.commit()
    await parts.boot.served("tftp", "ipxe.efi", "10.0.0.50", 7, 0.25)
    await parts.boot.served("http", "none", "10.0.0.51", 0, 0.1, "there is no such file")
    assert await parts.events("tftp") == [("ipxe.efi", {"bytes": 7, "seconds": 0.25, "client": "10.0.0.50"})]
    assert (await parts.events("http.error"))[0][1]["message"] == "there is no such file"
    assert parts.boot.mac_of("10.0.0.51") == "" and parts.ledger.get(Machine, machine).macs == (MAC,)


async def test_a_newcomer_that_clashes_boots_nothing_and_is_told_why(parts):
    known = (await parts.register(MAC)).machine
    with pytest.raises(Conflict):
        await parts.register(OTHER_MAC)
    script = (await parts.boot.script(OTHER_MAC, REACHED, "tftp", "10.0.0.51")).decode()
    assert f"{OTHER_MAC} looks like {known.name}: it looks like machine {known.name}" in script
    assert "sleep 60" in script and "kernel" not in script
    assert [key for key, _ in await parts.events("boot.held")] == [OTHER_MAC]
    assert b"kernel" in await parts.boot.script(MAC, REACHED, "tftp", "10.0.0.50")
    await parts.registrations.resolve(OTHER_MAC, "", OPERATOR)
    assert b"kernel" in await parts.boot.script(OTHER_MAC, REACHED, "tftp", "10.0.0.51")


# --- a kernel that the agent starts itself

KEXEC = {"agent/kexec": True}


async def test_a_machine_that_may_gets_its_kernel_with_a_ticket_that_registers_it(parts):
    machine = await parts.ready(workflow="discover", params=KEXEC)
    kernel = await parts.boot.kexec(machine, REACHED, "10.0.0.50")
    assert kernel.kernel == "http://10.0.0.1:8091/files/discovery/vmlinuz"
    assert kernel.initrds == ["http://10.0.0.1:8091/files/discovery/initrd.img"]
    again = await parts.register(ticket=ticket_in(kernel.cmdline))
    assert (again.machine.id, again.created) == (machine, False)
    assert (await parts.events("boot.render"))[-1] == ("discovery", {"protocol": "kexec"})


async def test_the_kernel_is_told_the_mac_that_the_machine_booted_from_last(parts):
    machine = await parts.ready(macs=(MAC, OTHER_MAC), workflow="discover", params=KEXEC)
    for boot, mac in (({"mac": OTHER_MAC}, OTHER_MAC), ({"mac": "52:54:00:ff:ff:ff"}, MAC), ("junk", MAC)):
        await parts.registrations.report_inventory(machine, {"boot": boot}, OPERATOR)
        kernel = await parts.boot.kexec(machine, REACHED, "10.0.0.50")
        assert parts.ledger.get(Token, digest(ticket_in(kernel.cmdline))).subject == mac


@pytest.mark.parametrize(
    "how",
    [
        {"workflow": "discover"},  # not allowed
        {"workflow": "discover", "params": {"agent/kexec": False}},
        {"bootenv": "local", "params": KEXEC},  # its disk is the firmware's business
    ],
)
async def test_otherwise_the_firmware_boots_it(parts, how):
    machine = await parts.ready(**how)
    assert await parts.boot.kexec(machine, REACHED, "10.0.0.50") is None
    assert await parts.boot.kexec("ghost", REACHED, "10.0.0.50") is None


async def test_a_boot_environment_without_a_kernel_for_it_is_an_ordinary_reboot(parts):
    machine = (await parts.register(arch="arm64")).machine.id
    await parts.change(machine, params=KEXEC)
    assert await parts.boot.kexec(machine, REACHED, "10.0.0.50") is None
