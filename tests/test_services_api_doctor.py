"""The doctor through HTTP."""

from __future__ import annotations

from provisioner.conductor.doctor import Doctor
from provisioner.findings import ForeignServer
from provisioner.model.access import TokenPurpose
from provisioner.services.api_doctor import DoctorRoutes
from provisioner.services.http import App
from provisioner.services.operations import routes
from tests.parts import MAC, OTHER_MAC, serving

PATH = "/api/v1/doctor"


async def client(parts, purpose=TokenPurpose.API, subject="admin", may_probe=True):
    async def probe():
        return [ForeignServer("10.0.0.250", "eth0")]

    doctor = Doctor(parts.ledger, lambda: (), probe if may_probe else None)
    app = App(parts.tokens, cookies=True).build([routes(DoctorRoutes(doctor, parts.machines).operations())])
    return serving(app, await parts.secret(purpose, subject))


async def missed(parts, mac, name):
    tx = parts.ledger.transaction()
    tx.event("tftp.error", mac=mac, key=name, message=f"there is no file {name!r}")
    await tx.commit()


async def test_findings_are_listed_with_what_to_do(parts):
    await missed(parts, MAC, "a")
    async with await client(parts) as caller:
        body = await (await caller.get(PATH)).json()
    (finding,) = body["items"]
    assert (finding["code"], finding["severity"], finding["macs"]) == ("file-missing", "error", [MAC])
    assert finding["advice"]
    assert body["probed_at"] is None


async def test_findings_of_one_machine_are_those_of_its_macs(parts):
    machine = await parts.ready()
    await missed(parts, MAC, "mine")
    await missed(parts, OTHER_MAC, "theirs")
    async with await client(parts) as caller:
        body = await (await caller.get(PATH, params={"machine": machine})).json()
    assert [each["subject"] for each in body["items"]] == ["mine"]


async def test_a_probe_names_the_servers_that_answered(parts):
    async with await client(parts) as caller:
        body = await (await caller.post(f"{PATH}/probe")).json()
    assert [(each["code"], each["subject"]) for each in body["items"]] == [("foreign-dhcp", "10.0.0.250")]
    assert body["probed_at"]


async def test_machines_may_not_ask(parts):
    machine = await parts.ready()
    async with await client(parts, TokenPurpose.MACHINE, machine) as caller:
        assert (await caller.get(PATH)).status == 403
        assert (await caller.post(f"{PATH}/probe")).status == 403


async def test_a_server_that_may_not_probe_says_why(parts):
    async with await client(parts, may_probe=False) as caller:
        answer = await caller.post(f"{PATH}/probe")
        body = await answer.json()
    assert (answer.status, body["code"]) == (409, "probe-impossible")
    assert "CAP_NET_RAW" in body["detail"]
