"""Boot scripts: which environment, with which ticket, and what is told of it."""

import re

import pytest

from provisioner.conductor.boot import LONGEST_TOLD, Boot
from provisioner.conductor.boot_context import BootContext, Reached
from provisioner.conductor.turns import Turns
from provisioner.errors import Conflict, Denied, Invalid
from provisioner.model.access import Token
from provisioner.model.addresses import Lease, LeaseState
from provisioner.model.machines import Machine
from tests.parts import MAC, OPERATOR, OTHER_MAC, START

REACHED = Reached("10.0.0.1", "http://10.0.0.1:8091")


def script(parts, mac=MAC):
    return parts.boot.script(mac, REACHED, "tftp", "10.0.0.50").decode()


def ticket_in(text):
    return re.search(r"provisioner\.ticket=(\S+)", text).group(1)


async def test_an_unknown_machine_boots_the_environment_for_strangers(parts):
    text = script(parts)
    assert text.startswith("#!ipxe\nkernel http://10.0.0.1:8091/files/discovery/vmlinuz provisioner.url=http://10.0")
    assert "initrd http://10.0.0.1:8091/files/discovery/initrd.img\n" in text
    assert await parts.events("boot") == [("discovery", {"protocol": "tftp", "bytes": len(text)})]
    assert list(parts.ledger.all(Machine)) == []


async def test_the_ticket_of_a_script_registers_the_machine(parts):
    assert (await parts.register(ticket=ticket_in(script(parts)))).created


async def test_every_script_has_a_ticket_of_its_own_and_using_one_ends_those_before(parts):
    first = ticket_in(script(parts))
    parts.clock.pass_seconds(1)
    second = ticket_in(script(parts))
    assert first != second
    assert (await parts.register(ticket=second)).created
    with pytest.raises(Denied, match="boot from the network again"):
        await parts.register(ticket=first)


async def test_fetching_a_script_does_not_end_the_ticket_of_the_machine_that_is_booting(parts):
    first = ticket_in(script(parts))
    parts.clock.pass_seconds(1)
    script(parts)
    assert (await parts.register(ticket=first)).created


async def test_giving_out_a_script_writes_nothing_but_its_event(parts):
    before = list(parts.ledger.all(Token))
    script(parts)
    assert list(parts.ledger.all(Token)) == before and len(await parts.events("boot.render")) == 1


async def test_a_machine_that_belongs_on_its_disk_gets_no_ticket(parts):
    await parts.ready(bootenv="local", name="n1")
    assert script(parts) == "#!ipxe\necho n1\nexit 1\n"
    assert (await parts.events("boot"))[-1][0] == "local" and len(await parts.events("boot.local")) == 1


async def test_a_known_machine_boots_what_its_work_needs(parts):
    await parts.ready(bootenv="local", workflow="discover")
    assert "discovery/vmlinuz" in script(parts)


async def test_a_script_that_cannot_be_rendered_is_an_event(parts):
    await parts.ready(bootenv="picky")
    with pytest.raises(Invalid, match=f"boot script for {MAC}: .*needed") as caught:
        script(parts)
    assert caught.value.code == "boot-script"
    ((key, data),) = await parts.events("boot")
    assert key == "picky" and "needed" in data["message"] and data["protocol"] == "tftp"


async def test_an_environment_without_the_machines_architecture_says_what_it_has(parts):
    machine = await parts.ready()
    await parts.change(machine, arch="arm64")
    with pytest.raises(Invalid, match="bootenv 'discovery' has nothing for arm64; it has amd64"):
        script(parts)


async def test_secrets_do_not_reach_boot_scripts(parts):
    await parts.ready(bootenv="picky", params={"needed": "open", "secret": "hidden"})
    assert "open" in (text := script(parts)) and "hidden" not in text


async def test_a_file_fetched_is_told_in_the_timeline_of_who_has_the_address(parts):
    machine = await parts.ready()
    tx = parts.ledger.transaction()
    tx.put(Lease(address="10.0.0.50", mac=MAC, state=LeaseState.ACKED, expires_at=START))
    await tx.commit()
    parts.boot.served("tftp", "ipxe.efi", "10.0.0.50", 7, 0.25)
    parts.boot.served("http", "none", "10.0.0.51", 0, 0.1, "there is no such file")
    assert await parts.events("tftp") == [("ipxe.efi", {"bytes": 7, "seconds": 0.25, "client": "10.0.0.50"})]
    assert (await parts.events("http.error"))[0][1]["message"] == "there is no such file"
    assert parts.boot.mac_of("10.0.0.51") == "" and parts.ledger.get(Machine, machine).macs == (MAC,)


async def test_the_timeline_keeps_only_so_much_of_a_path_that_anybody_asks_for(parts):
    path = "/files/" + "x" * 8000
    parts.boot.served("http", path, "10.0.0.51", 0, 0.1, f"there is no file {path!r}")
    ((key, data),) = await parts.events("http.error")
    assert len(key) == len(data["message"]) == LONGEST_TOLD


async def test_a_newcomer_that_clashes_boots_nothing_and_is_told_why(parts):
    known = (await parts.register(MAC)).machine
    with pytest.raises(Conflict):
        await parts.register(OTHER_MAC)
    text = parts.boot.script(OTHER_MAC, REACHED, "tftp", "10.0.0.51").decode()
    assert f"{OTHER_MAC} looks like {known.name}: it looks like machine {known.name}" in text
    assert "sleep 60" in text and "kernel" not in text
    assert [key for key, _ in await parts.events("boot.held")] == [OTHER_MAC]
    assert b"kernel" in parts.boot.script(MAC, REACHED, "tftp", "10.0.0.50")
    await parts.registrations.resolve(OTHER_MAC, "", OPERATOR)
    assert b"kernel" in parts.boot.script(OTHER_MAC, REACHED, "tftp", "10.0.0.51")


# --- a kernel that the agent starts itself

KEXEC = {"agent/kexec": True}


async def test_a_machine_that_may_gets_its_kernel_with_a_ticket_that_registers_it(parts):
    machine = await parts.ready(workflow="discover", params=KEXEC)
    kernel = parts.boot.kexec(machine, REACHED, "10.0.0.50")
    assert kernel.kernel == "http://10.0.0.1:8091/files/discovery/vmlinuz"
    assert kernel.initrds == ["http://10.0.0.1:8091/files/discovery/initrd.img"]
    again = await parts.register(ticket=ticket_in(kernel.cmdline))
    assert (again.machine.id, again.created) == (machine, False)
    assert (await parts.events("boot.render"))[-1] == ("discovery", {"protocol": "kexec"})


async def test_the_kernel_is_told_the_mac_that_the_machine_booted_from_last(parts):
    machine = await parts.ready(macs=(MAC, OTHER_MAC), workflow="discover", params=KEXEC)
    for boot, mac in (({"mac": OTHER_MAC}, OTHER_MAC), ({"mac": "52:54:00:ff:ff:ff"}, MAC), ("junk", MAC)):
        await parts.registrations.report_inventory(machine, {"boot": boot}, OPERATOR)
        kernel = parts.boot.kexec(machine, REACHED, "10.0.0.50")
        assert parts.tickets.read(ticket_in(kernel.cmdline)).mac == mac


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
    assert parts.boot.kexec(machine, REACHED, "10.0.0.50") is None
    assert parts.boot.kexec("ghost", REACHED, "10.0.0.50") is None


async def test_a_boot_environment_without_a_kernel_for_it_is_an_ordinary_reboot(parts):
    machine = (await parts.register(arch="arm64")).machine.id
    await parts.change(machine, params=KEXEC)
    assert parts.boot.kexec(machine, REACHED, "10.0.0.50") is None


async def test_an_unknown_machine_boots_what_its_firmware_is_made_for(parts):
    archs = {}
    context = BootContext(parts.ledger, parts.catalog, parts.renderer, "discovery", lambda mac: archs.get(mac, "amd64"))
    boot = Boot(parts.ledger, parts.catalog, parts.tokens, parts.clashes, context, parts.notes, parts.turns)
    assert b"discovery/vmlinuz" in boot.script(MAC, REACHED, "tftp", "10.0.0.50")
    archs[MAC] = "arm64"
    with pytest.raises(Invalid, match="has nothing for arm64"):
        boot.script(MAC, REACHED, "tftp", "10.0.0.50")


# --- GRUB -----------------------------------------------------------------------------------------------------


def named(parts, path, client="10.0.0.50"):
    return parts.boot.named(path, REACHED, "tftp", client)


async def test_a_name_that_is_no_scripts_is_left_to_others(parts):
    assert named(parts, "ipxe/snponly.efi") is None


async def test_ipxe_and_grub_get_the_same_kernel_each_in_its_language(parts):
    assert named(parts, f"{MAC.replace(':', '-')}.ipxe").startswith(b"#!ipxe\nkernel")
    text = named(parts, f"grub/{MAC}.cfg").decode()
    assert f"grub {MAC} /files/discovery/vmlinuz" in text
    assert ticket_in(text)


async def test_grubs_ticket_registers_the_machine_as_well(parts):
    assert (await parts.register(ticket=ticket_in(named(parts, f"grub/{MAC}.cfg").decode()))).created


async def test_a_machine_that_belongs_on_its_disk_is_told_so_by_grub(parts):
    await parts.ready(bootenv="local", name="n1")
    assert named(parts, f"grub/{MAC}.cfg") == b"grub n1 local\n"


async def test_a_newcomer_that_clashes_is_held_by_grub_too(parts):
    known = (await parts.register(MAC)).machine
    with pytest.raises(Conflict):
        await parts.register(OTHER_MAC)
    assert named(parts, f"grub/{OTHER_MAC}.cfg") == f"grub {OTHER_MAC} looks like {known.name}\n".encode()


async def test_whoever_comes_for_a_script_is_told_to_those_who_count_loaders(parts):
    came = []
    fixed = parts.ledger, parts.catalog, parts.tokens, parts.clashes, parts.boot_context, parts.notes, parts.turns
    parts.boot = Boot(*fixed, loaded=lambda *who: came.append(who))
    named(parts, f"grub/{MAC}.cfg")
    machine = (await parts.register(MAC)).machine
    named(parts, f"grub/{MAC}.cfg")
    named(parts, "grub/grub.cfg")
    assert came == [(MAC, None), (MAC, machine)]


async def test_what_is_fetched_whole_is_told_to_those_who_count_loaders(parts):
    fetched = []
    fixed = parts.ledger, parts.catalog, parts.tokens, parts.clashes, parts.boot_context, parts.notes, parts.turns
    parts.boot = Boot(*fixed, fetched=lambda *what: fetched.append(what), neighbour=lambda address: MAC)
    parts.boot.served("tftp", "a.efi", "10.0.0.7", 0, 0.1, size_only=True)
    parts.boot.served("tftp", "a.efi", "10.0.0.7", 0, 0.1, "the client gave up")
    parts.boot.served("tftp", "a.efi", "10.0.0.7", 9000, 0.1)
    assert fetched == [(MAC, "a.efi")]


async def test_grubs_first_file_names_the_mac_of_the_address_it_came_from(parts):
    assert named(parts, "grub/grub.cfg") == b"start \n"
    tx = parts.ledger.transaction()
    tx.put(Lease(address="10.0.0.50", mac=MAC, state=LeaseState.ACKED, expires_at=START))
    await tx.commit()
    assert named(parts, "grub/grub.cfg") == f"start {MAC.replace(':', '-')}\n".encode()


async def test_what_every_loader_asks_for_in_vain_is_not_told(parts):
    parts.boot.served("tftp", "shim/revocations_sku.efi", "10.0.0.50", 0, 0.1, "there is no such file")
    parts.boot.served("tftp", "shim/grubx64.efi", "10.0.0.50", 0, 0.1, "there is no such file")
    await parts.notes.settled()
    assert [key for key, _ in await parts.events("tftp.error")] == ["shim/grubx64.efi"]


# --- turns to download


@pytest.fixture
def busy(parts):
    """Boot scripts with one slot, which somebody else has."""
    turns = Turns(parts.ledger, 1, seconds=parts.clock.seconds)
    turns.follow()
    turns.ask("52:54:00:00:00:99", "10.0.0.99", ("/files/k",))
    return Boot(parts.ledger, parts.catalog, parts.tokens, parts.clashes, parts.boot_context, parts.notes, turns), turns


async def test_a_machine_that_has_to_wait_is_told_its_place_and_gets_no_ticket(parts, busy):
    boot, _ = busy
    asked = [(MAC, "10.0.0.50"), (OTHER_MAC, "10.0.0.51"), (MAC, "10.0.0.50")]
    told = [boot.script(mac, REACHED, "http", client).decode() for mac, client in asked]
    assert told[0] == "#!ipxe\necho 1 of 1, 1 at once\nsleep 3\n"
    assert "echo 2 of 2" in told[1] and "echo 1 of 2" in told[2]
    assert [data["place"] for _, data in await parts.events("boot.wait")] == [1, 2]
    assert await parts.events("boot.render") == []


async def test_when_its_turn_comes_it_gets_its_script(parts, busy):
    boot, turns = busy
    boot.script(MAC, REACHED, "http", "10.0.0.50")
    turns.end(turns.begin("10.0.0.99", "/files/k", 10, 0), whole=True)
    assert ticket_in(boot.script(MAC, REACHED, "http", "10.0.0.50").decode())


async def test_a_machine_that_boots_its_disk_does_not_wait(parts, busy):
    await parts.ready(bootenv="local", name="n1")
    assert b"exit 1" in busy[0].script(MAC, REACHED, "http", "10.0.0.50")


async def test_a_script_says_which_files_its_machine_will_fetch(parts, busy):
    boot, turns = busy
    turns.end(turns.begin("10.0.0.99", "/files/k", 10, 0), whole=True)
    boot.script(MAC, REACHED, "http", "10.0.0.50")
    turns.end(turns.begin("10.0.0.50", "/files/discovery/vmlinuz", 10, 0), whole=True)
    assert turns.now().taken == 1
    turns.end(turns.begin("10.0.0.50", "/files/discovery/initrd.img", 10, 0), whole=True)
    assert turns.now().taken == 0
