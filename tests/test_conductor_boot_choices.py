"""Which loader each client is given: params, quirks, Secure Boot, and what failed before."""

from __future__ import annotations

from datetime import timedelta

import pytest
from msgspec.structs import replace

from provisioner.bus import Bus
from provisioner.conductor.boot_choices import BootChoices, Web
from provisioner.conductor.ledger import Ledger
from provisioner.firmware import boot_client
from provisioner.model.content import BootArch, Bootenv, Param, Profile
from provisioner.model.machines import Machine
from provisioner.params import Params
from tests.dhcp_messages import BIOS, HTTP, IPXE, IPXE_HTTP, OVMF, discover, mac, select
from tests.fakes.disk import SlowDisk
from tests.parts import START

SERVER = "10.77.0.1"
DISCOVERY = Bootenv(name="discovery", arch={"amd64": BootArch(kernel="vmlinuz")})
SNPONLY, NATIVE, SHIM, GRUB = "ipxe/snponly.efi", "ipxe/ipxe.efi", "shim/shimx64.efi", "grub/grubx64.efi"


def machine(**fields):
    return Machine(id="m1", name="n1", macs=(mac(1),), created_at=START, updated_at=START, **fields)


class World:
    """Choices with params and files as a test wants them."""

    def __init__(self):
        self.now = START
        self.disk = SlowDisk()
        self.ledger = Ledger(self.disk, Bus(), lambda: self.now)
        self.content = {"params": {}, "profiles": {}}
        self.missing = set()
        self.params = Params(self.content)
        self.xid = 0
        self.choices = BootChoices(
            self.ledger,
            lambda: self.params,
            lambda machine: DISCOVERY,
            is_there=lambda name: name not in self.missing,
            web=Web("0.0.0.0", 8091),
        )

    def globally(self, **params):
        names = {name.replace("_", "/"): value for name, value in params.items()}
        self.content["profiles"] = {"global": Profile(name="global", params=names)}
        self.params = Params(self.content)

    def choose(self, options=OVMF, machine=None, override="", client=1, **fields):
        message = discover(client, options=options, xid=self.xid)
        return self.choices.choose(boot_client(message), machine, SERVER, override, **fields)

    def attempt(self, options=OVMF, machine=None, client=1):
        """One boot up to the ACK; the file that was given."""
        self.xid += 1
        offered = self.choose(options, machine, client=client)
        request = select(client, "10.77.0.9", options=options, xid=self.xid)
        given = self.choices.choose(boot_client(request), machine, SERVER)
        assert offered.file == given.file
        return given.file


@pytest.fixture
async def world():
    return World()


async def test_a_client_that_does_not_netboot_is_given_nothing(world):
    assert world.choose({60: b"MSFT 5.0"}).file == ""


async def test_the_server_is_named_as_the_client_reaches_it(world):
    assert world.choose(HTTP).file == f"http://10.77.0.1:8091/files/{SNPONLY}"
    assert world.choose(IPXE_HTTP).file == "http://10.77.0.1:8091/boot/52-54-00-00-00-01.ipxe"


@pytest.mark.parametrize(
    ("web", "server", "url"),
    [
        (Web("", 80), "10.0.0.1", "http://10.0.0.1:80"),
        (Web("::", 80), "fd00::1", "http://[fd00::1]:80"),
        (Web("10.0.0.7", 80), "10.0.0.1", "http://10.0.0.7:80"),
        (Web(), "10.0.0.1", ""),
        (Web("0.0.0.0", 80, "::", 81), "fd00::1", "http://[fd00::1]:81"),
        (Web("0.0.0.0", 80, "fd00::9", 81), "fd00::1", "http://[fd00::9]:81"),
        (Web("0.0.0.0", 80, "::", 81), "10.0.0.1", "http://10.0.0.1:80"),
        (Web("0.0.0.0", 80), "fd00::1", ""),
    ],
)
def test_a_listener_on_one_address_is_named_by_it(web, server, url):
    assert web.url(server) == url


# --- params ---------------------------------------------------------------------------------------------------


async def test_a_machine_can_name_its_loader(world):
    assert world.choose(machine=machine(params={"boot/loader": "ipxe"})).file == NATIVE


async def test_all_machines_can_be_given_a_loader_unknown_ones_too(world):
    world.globally(boot_loader="grub")
    assert world.choose().file == GRUB
    assert world.choose(machine=machine()).file == GRUB


async def test_a_changed_machine_counts_at_once(world):
    one = machine()
    assert world.choose(machine=one).file == SNPONLY
    changed = replace(one, revision=1, params={"boot/loader": "grub"})
    assert world.choose(machine=changed).file == GRUB


async def test_a_loader_that_is_not_for_the_firmware_leaves_it_without_one(world):
    chosen = world.choose(BIOS, machine(params={"boot/loader": "shim"}))
    assert (chosen.file, chosen.reason) == ("", "there is no boot loader for BIOS")


@pytest.mark.parametrize("options", [OVMF, BIOS, HTTP, IPXE, IPXE_HTTP])
async def test_the_loader_none_offers_nothing_to_anybody(world, options):
    assert world.choose(options, machine(params={"boot/loader": "none"})).file == ""
    assert world.choose(options, override="none").file == ""


@pytest.mark.parametrize("loader", ["grub", ["shim", "grub"]])
async def test_ipxe_that_is_there_gets_its_script_whatever_the_loader(world, loader):
    assert world.choose(IPXE, machine(params={"boot/loader": loader})).file == "52-54-00-00-00-01.ipxe"
    assert world.choose(IPXE, override="grub").file == "52-54-00-00-00-01.ipxe"


async def test_a_row_of_quirks_can_offer_nothing_to_ipxe(world):
    world.globally(boot_quirks=[{"match": {"client": ["ipxe"]}, "loader": "none"}])
    assert world.choose(IPXE).file == ""
    assert world.choose().file == SNPONLY


async def test_peers_5_a_row_of_quirks_names_the_loader_to_begin_with(world):
    world.globally(boot_quirks=[{"match": {"oui": ["52:54:00"]}, "loader": "ipxe"}])
    assert world.choose().file == NATIVE


async def test_a_row_of_quirks_can_offer_nothing(world):
    world.globally(boot_quirks=[{"match": {"arch": [0]}, "loader": "none"}])
    assert world.choose(BIOS).file == ""
    assert world.choose().file == SNPONLY


async def test_own_rows_stand_before_those_that_are_shipped(world):
    shipped = Param(name="boot/quirks", compose=True, default=[{"match": {"arch": [7]}, "loader": "grub"}])
    world.content["params"] = {"boot/quirks": shipped}
    world.params = Params(world.content)
    assert world.choose().file == GRUB
    own = [{"match": {"oui": ["52:54:00"]}, "loader": "ipxe"}]
    assert world.choose(machine=machine(params={"boot/quirks": own})).file == NATIVE
    world.globally(boot_quirks=own)
    assert world.choose().file == NATIVE


async def test_a_machine_that_changes_more_often_than_is_remembered_gets_what_it_says_now(world):
    one = machine()
    for revision in range(3000):
        name, file = (("ipxe", NATIVE), ("grub", GRUB))[revision % 2]
        one = replace(one, revision=revision, params={"boot/quirks": [{"match": {}, "loader": name}]})
        assert world.choose(machine=one).file == file


async def test_rows_of_quirks_that_cannot_be_read_change_nothing(world):
    world.globally(boot_quirks=[{"match": {"colour": "red"}}])
    assert world.choose().file == SNPONLY


async def test_a_machine_with_secure_boot_gets_the_signed_loader(world):
    secure = machine(inventory={"boot": {"secure_boot": True}})
    assert world.choose(machine=secure).file == SHIM
    assert world.choose(machine=replace(secure, revision=1, inventory={"boot": {"secure_boot": False}})).file == SNPONLY
    assert world.choose(machine=replace(secure, revision=2, inventory={"boot": "junk"})).file == SNPONLY


async def test_with_secure_boot_http_firmware_is_sent_on_to_pxe(world):
    secure = machine(inventory={"boot": {"secure_boot": True}})
    assert world.choose(HTTP, secure).file == "" and "boot by PXE" in world.choose(HTTP, secure).reason
    named = replace(secure, revision=1, params={"boot/loader": "shim"})
    assert world.choose(HTTP, named).file == f"http://10.77.0.1:8091/files/{SHIM}"


async def test_a_reservation_names_a_file_or_a_loader_or_forbids(world):
    assert world.choose(override="my/own.efi").file == "my/own.efi"
    assert world.choose(override="shim").file == SHIM
    assert world.choose(override="-").file == ""


# --- files that are not there ---------------------------------------------------------------------------------


async def test_a_loader_whose_file_is_not_there_is_passed_over(world):
    world.missing = {SNPONLY, NATIVE}
    assert world.choose().file == SHIM


async def test_without_any_file_the_first_is_named_so_that_the_timeline_shows_what_is_missed(world):
    world.missing = {SNPONLY, NATIVE, SHIM, GRUB}
    assert world.choose().file == SNPONLY


async def test_a_file_that_comes_is_seen_within_seconds(world):
    world.missing = {SNPONLY}
    assert world.choose().file == NATIVE
    world.missing = set()
    assert world.choose().file == NATIVE
    world.now += timedelta(seconds=6)
    assert world.choose().file == SNPONLY


# --- what failed before ---------------------------------------------------------------------------------------


async def test_clients_of_unknown_machines_are_told_of(world):
    met = []
    world.choices = BootChoices(world.ledger, lambda: world.params, lambda machine: DISCOVERY, met=met.append)
    world.choose(OVMF | {93: b"\0\x0b"})
    world.choose(machine=machine())
    world.choose({60: b"MSFT 5.0"})
    assert [client.arch for client in met] == [11]


async def test_peers_5_after_two_failed_attempts_the_next_loader_has_its_turn(world):
    given = [world.attempt() for _ in range(9)]
    assert given == [SNPONLY] * 2 + [SHIM] * 2 + [NATIVE] * 2 + [GRUB] * 2 + [SNPONLY]


async def test_where_secure_boot_is_known_to_be_off_the_other_ipxe_is_next(world):
    known = machine(inventory={"boot": {"secure_boot": False}})
    assert [world.attempt(machine=known) for _ in range(5)] == [SNPONLY] * 2 + [NATIVE] * 2 + [SHIM]


async def test_firmware_that_refuses_what_it_fetched_and_asks_at_once_is_given_the_signed_loader(world):
    assert world.attempt() == SNPONLY
    world.choices.fetched(mac(1), SNPONLY)
    world.now += timedelta(seconds=3)
    assert world.attempt() == SHIM
    [told] = world.disk.events
    assert (told.key, told.data["failed"], told.data["times"]) == ("shim", "snponly", 1)


async def test_a_machine_that_is_switched_on_again_after_it_fetched_its_loader_gets_the_same(world):
    world.attempt()
    world.choices.fetched(mac(1), f"/files/{SNPONLY}")
    world.now += timedelta(seconds=60)
    assert world.attempt() == SNPONLY


async def test_ipxe_that_asks_by_another_card_of_its_machine_has_come(world):
    two = replace(machine(), macs=(mac(1), mac(2)))
    for _ in range(5):
        assert world.attempt(machine=two, client=1) == SNPONLY
        world.choose(IPXE, two, client=2)


async def test_peers_2_bios_that_loops_is_given_the_other_ipxe(world):
    assert [world.attempt(BIOS) for _ in range(3)] == ["ipxe/undionly.kpxe"] * 2 + ["ipxe/ipxe.pxe"]


async def test_the_timeline_tells_why_the_loader_changed(world):
    for _ in range(3):
        world.attempt()
    [told] = world.disk.events
    assert (told.kind, told.machine, told.mac, told.key) == ("boot.loader", "", mac(1), "shim")
    assert told.data == {"failed": "snponly", "firmware": "UEFI x64", "times": 2}


async def test_ipxe_that_comes_shows_that_the_loader_works(world):
    for _ in range(5):
        assert world.attempt() == SNPONLY
        world.choose(IPXE)


async def test_a_script_that_is_fetched_shows_that_the_loader_works(world):
    for _ in range(5):
        assert world.attempt() == SNPONLY
        world.choices.loaded(mac(1), None)


async def test_a_loader_that_worked_after_others_failed_is_kept(world):
    for _ in range(3):
        world.attempt()
    world.choose(IPXE)
    for _ in range(4):
        assert world.attempt() == SHIM
        world.choose(IPXE)


async def test_a_discover_that_is_only_repeated_is_no_failed_attempt(world):
    world.attempt()
    for _ in range(9):
        assert world.choose().file == SNPONLY


async def test_an_offer_that_was_never_taken_is_no_failed_attempt(world):
    for _ in range(9):
        world.xid += 1
        assert world.choose().file == SNPONLY


async def test_firmware_that_tries_pxe_and_http_in_turn_has_turns_for_each(world):
    for _ in range(2):
        world.attempt()
        world.attempt(HTTP)
    assert world.attempt() == SHIM
    assert world.attempt(HTTP).endswith(NATIVE)


async def test_every_machine_has_its_own_turns(world):
    for _ in range(3):
        world.attempt(client=1)
    assert world.attempt(client=2) == SNPONLY


async def test_a_single_loader_that_is_named_is_kept_to(world):
    named = machine(params={"boot/loader": "snponly"})
    assert {world.attempt(machine=named) for _ in range(7)} == {SNPONLY}


async def test_a_list_of_loaders_is_tried_in_its_order(world):
    named = machine(params={"boot/loader": ["grub", "ipxe"]})
    assert [world.attempt(machine=named) for _ in range(5)] == [GRUB, GRUB, NATIVE, NATIVE, GRUB]


async def test_a_loader_that_is_no_longer_among_them_gives_way(world):
    for _ in range(3):
        world.attempt()
    named = machine(params={"boot/loader": "grub"})
    assert world.attempt(machine=named) == GRUB


async def test_the_longest_silent_machine_is_forgotten(world):
    world.choices = BootChoices(world.ledger, lambda: world.params, lambda machine: DISCOVERY, most=2)
    for _ in range(3):
        world.attempt(client=1)
    world.attempt(client=2)
    world.attempt(client=3)
    assert world.attempt(client=1) == SNPONLY
