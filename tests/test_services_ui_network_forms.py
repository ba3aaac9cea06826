"""Forms of the network's pages, as a browser without JavaScript posts them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from provisioner.model.addresses import Lease, LeaseState, Picker, Reservation, Subnet
from provisioner.services.ui_network_forms import RESERVATION_FIELDS, SUBNET_FIELDS
from tests.ui_browser import opened

SUBNET = {
    "name": "rack 1", "cidr": "10.5.0.0/24", "pool_start": "10.5.0.10", "pool_end": "10.5.0.20", "gateway": "",
    "dns_servers": "10.5.0.1, 10.5.0.2", "domain": "", "next_server": "", "lease_seconds": "600",
    "reserved_lease_seconds": "1200", "renew_seconds": "0", "rebind_seconds": "0", "shared_network": "",
    "pickers": "most-expired hint", "probe": "off", "enabled": "yes", "options": "42 = 10.5.0.1\n\n", "description": "",
}  # fmt: skip
RESERVATION = {"address": "10.5.0.30", "mac": "52:54:00:00:00:01", "hostname": "web", "options": "", "scoped": "yes"}
EMPTY = {"boot_file": "", "next_server": "", "description": ""}


async def leased(demo):
    tx = demo.ledger.transaction()
    then = datetime.now(UTC) + timedelta(hours=1)
    lease = Lease(address="10.5.0.12", mac="52:54:00:00:00:07", state=LeaseState.ACKED, expires_at=then, hostname="db")
    tx.put(lease)
    await tx.commit()


def test_every_field_of_a_subnet_and_a_reservation_is_in_its_form():
    for cls, fields, key in ((Subnet, SUBNET_FIELDS, "name"), (Reservation, RESERVATION_FIELDS, "address")):
        assert {each.name for each in fields} | {key} == {each.name for each in msgspec.structs.fields(cls)}


async def test_a_subnet_is_made_shown_changed_and_removed(tmp_path):
    async with opened(tmp_path) as (demo, browser):
        assert 'name="cidr"' in await browser.get("/new-subnet")
        assert (await browser.post("/new-subnet", SUBNET)).headers["Location"] == "/leases"
        made = demo.ledger.read(Subnet, "rack 1")
        assert (made.pickers, made.dns_servers) == ((Picker.MOST_EXPIRED, Picker.HINT), ("10.5.0.1", "10.5.0.2"))
        assert (made.lease_seconds, made.options, made.proxy) == (600, {"42": "10.5.0.1"}, False)
        assert "/subnets/rack%201" in await browser.get("/leases")
        assert "most-expired, hint" in await browser.get("/subnets/rack%201")
        changed = {**SUBNET, "proxy": "yes", "lease_seconds": "900"}
        assert (await browser.post("/subnets/rack%201", changed)).status == 303
        assert demo.ledger.read(Subnet, "rack 1").proxy
        assert "boot information only" in await browser.get("/leases")
        asked = await browser.post("/subnets/rack%201/delete", {})
        assert "Remove subnet rack 1?" in await asked.text()
        assert (await browser.post("/subnets/rack%201/delete", {"confirmed": "yes"})).status == 303
        assert demo.ledger.read(Subnet, "rack 1") is None


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"name": ""}, "is no name for a subnet"),
        ({"name": "a/b"}, "is no name for a subnet"),
        ({"name": "a{b}"}, "is no name for a subnet"),
        ({"name": ".."}, "is no name for a subnet"),
        ({"cidr": ""}, "is missing; write a network such as 192.168.1.0/24"),
        ({"cidr": "10.5.0.0/33"}, "is not a network such as 192.168.1.0/24"),
        ({"cidr": "10.5.0.1/24"}, "10.5.0.1/24 is an address in the network 10.5.0.0/24: write that"),
        ({"cidr": "10.5.0.0"}, "say how large the network of 10.5.0.0 is"),
        ({"pool_end": "10.5.0.5"}, "10.5.0.5 comes before “pool from” 10.5.0.10"),
        ({"gateway": "fd00::1"}, "is not an ipv4 address"),
        ({"domain": "lab example"}, "is no name: letters, digits, hyphens"),
        ({"lease_seconds": "soon"}, "soon&#39; is no time"),
        ({"pickers": "best"}, "is not one of: hint, next-free, most-expired, none"),
        ({"options": "42"}, "is no option"),
        ({"options": "root-path = {{ server.adress }}"}, "unknown field of server"),
    ],
)
async def test_a_wrong_field_shows_the_form_as_it_was_filled_in_with_what_is_wrong(tmp_path, wrong, says):
    async with opened(tmp_path) as (demo, browser):
        answer = await browser.post("/new-subnet", {**SUBNET, "description": "kept words", **wrong})
        text = await answer.text()
        assert answer.status == 422 and says.lower() in text.lower()
        assert "kept words" in text and 'aria-invalid="true"' in text
        assert list(demo.ledger.read_all(Subnet)) == [
            each for each in demo.ledger.read_all(Subnet) if each.name == "rack"
        ]


async def test_all_wrong_fields_are_said_at_once_each_at_its_place(tmp_path):
    async with opened(tmp_path) as (_, browser):
        wrong = {**SUBNET, "gateway": "10.6.0.1", "dns_servers": "ns.lab", "renew_seconds": "2h"}
        text = await (await browser.post("/new-subnet", wrong)).text()
        assert [f'id="wrong-{name}"' in text for name in ("gateway", "dns_servers", "renew_seconds", "cidr")] == [
            True,
            True,
            True,
            False,
        ]
        assert '<a href="#field-gateway">Gateway</a>' in text


async def test_what_is_there_already_is_said_at_the_field_that_names_it(tmp_path):
    async with opened(tmp_path) as (_, browser):
        await browser.post("/new-subnet", SUBNET)
        again = await browser.post("/new-subnet", SUBNET)
        assert again.status == 409 and 'id="wrong-name"' in await again.text()
        overlapping = await browser.post("/new-subnet", {**SUBNET, "name": "rack 2", "cidr": "10.5.0.0/23"})
        assert 'id="wrong-cidr"' in await overlapping.text()


async def test_a_network_is_saved_as_it_is_usually_written(tmp_path):
    async with opened(tmp_path) as (demo, browser):
        await browser.post("/new-subnet", {**SUBNET, "cidr": "10.5.0.0/255.255.255.0"})
        assert demo.ledger.read(Subnet, "rack 1").cidr == "10.5.0.0/24"


async def test_a_subnet_in_use_is_not_removed(tmp_path):
    async with opened(tmp_path) as (demo, browser):
        await browser.post("/new-subnet", SUBNET)
        await browser.post("/new-reservation", {**EMPTY, **RESERVATION})
        refused = await browser.post("/subnets/rack%201/delete", {"confirmed": "yes"})
        text = await refused.text()
        assert refused.status == 409 and "in use by reservations 10.5.0.30" in text
        assert 'action="/subnets/rack%201"' in text and 'value="10.5.0.10"' in text
        assert demo.ledger.read(Subnet, "rack 1") is not None


async def test_a_reservation_is_made_changed_and_removed(tmp_path):
    async with opened(tmp_path) as (demo, browser):
        assert (await browser.post("/new-reservation", {**EMPTY, **RESERVATION})).status == 303
        assert demo.ledger.read(Reservation, "10.5.0.30").scoped
        assert "everywhere" not in await browser.get("/leases")
        everywhere = {name: value for name, value in RESERVATION.items() if name != "scoped"}
        assert (await browser.post("/reservations/10.5.0.30", {**EMPTY, **everywhere})).status == 303
        assert not demo.ledger.read(Reservation, "10.5.0.30").scoped
        assert "everywhere" in await browser.get("/leases")
        passed = {**EMPTY, **RESERVATION, "mac": "5254.00aa.bb01"}
        assert (await browser.post("/reservations/10.5.0.30", passed)).status == 303
        assert demo.ledger.read(Reservation, "10.5.0.30").mac == "52:54:00:aa:bb:01"
        odd = await browser.post("/reservations/10.5.0.30", {**EMPTY, **RESERVATION, "hostname": "bad name!"})
        assert odd.status == 422 and 'id="wrong-hostname"' in await odd.text()
        wrong = await browser.post("/reservations/10.5.0.30", {**EMPTY, **RESERVATION, "mac": "52:54"})
        assert wrong.status == 422 and "52:54" in await wrong.text()
        assert (await browser.post("/reservations/10.5.0.30/delete", {})).status == 200
        await browser.post("/reservations/10.5.0.30/delete", {"confirmed": "yes"})
        assert demo.ledger.read(Reservation, "10.5.0.30") is None


async def test_a_lease_is_reserved_for_its_holder_and_freed(tmp_path):
    async with opened(tmp_path) as (demo, browser):
        await leased(demo)
        assert "/new-reservation?lease=10.5.0.12" in await browser.get("/leases")
        form = await browser.get("/new-reservation?lease=10.5.0.12")
        assert all(f'value="{value}"' in form for value in ("10.5.0.12", "52:54:00:00:00:07", "db"))
        assert (await browser.post("/leases/10.5.0.12/free", {})).status == 200
        assert demo.ledger.read(Lease, "10.5.0.12") is not None
        assert (await browser.post("/leases/10.5.0.12/free", {"confirmed": "yes"})).status == 303
        assert demo.ledger.read(Lease, "10.5.0.12") is None


async def test_forms_of_what_there_is_not_name_what_there_is(tmp_path):
    async with opened(tmp_path) as (_, browser):
        await browser.post("/new-subnet", SUBNET)
        assert "there is: rack 1" in await browser.get("/subnets/other", 404)
        await browser.get("/reservations/10.0.0.1", 404)
        assert (await browser.post("/subnets/other", SUBNET)).status == 404
        assert (await browser.post("/leases/10.0.0.1/free", {"confirmed": "yes"})).status == 404
