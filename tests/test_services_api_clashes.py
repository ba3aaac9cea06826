"""Clashes through HTTP."""

import pytest

from provisioner.errors import Conflict
from tests.parts import MAC, OTHER_MAC, opened, operator, serving

CLASHES = "/api/v1/clashes"


@pytest.fixture
async def parts(tmp_path):
    async with opened(tmp_path) as parts:
        await parts.register(MAC)
        with pytest.raises(Conflict):
            await parts.register(OTHER_MAC)
        yield parts


async def test_held_newcomers_are_listed_and_read(parts):
    async with await operator(parts) as client:
        listed = await (await client.get(CLASHES)).json()
        assert listed["total"] == 1 and listed["items"][0]["mac"] == OTHER_MAC
        one = await (await client.get(f"{CLASHES}/{OTHER_MAC}")).json()
        assert one["macs"] == [OTHER_MAC] and "looks like machine" in one["reason"]
        assert (await client.get(f"{CLASHES}/x")).status == 404


async def test_a_clash_is_resolved_as_a_new_machine(parts):
    async with await operator(parts) as client:
        response = await client.post(f"{CLASHES}/{OTHER_MAC}/resolve", json={"machine": ""})
        new = await response.json()
        assert response.status == 200 and new["macs"] == [OTHER_MAC] and new["name"] == "m-52-54-00-00-00-02"
        assert (await (await client.get(CLASHES)).json())["total"] == 0


async def test_a_clash_is_resolved_as_a_known_machine(parts):
    async with await operator(parts) as client:
        response = await client.post(f"{CLASHES}/{OTHER_MAC}/resolve", json={"machine": "m-52-54-00-00-00-01"})
        assert (await response.json())["macs"] == [OTHER_MAC, MAC]


@pytest.mark.parametrize(
    ("mac", "machine", "status"), [(OTHER_MAC, "ghost", 422), ("nonsense", "", 422), (MAC, "", 404)]
)
async def test_a_resolution_that_makes_no_sense_is_refused(parts, mac, machine, status):
    async with await operator(parts) as client:
        response = await client.post(f"{CLASHES}/{mac}/resolve", json={"machine": machine})
        assert response.status == status, await response.text()
        assert (await (await client.get(CLASHES)).json())["total"] == 1


async def test_a_clash_is_forgotten(parts):
    async with await operator(parts) as client:
        gone = await client.delete(f"{CLASHES}/{OTHER_MAC.replace(':', '').upper()}")
        assert gone.status == 200 and (await gone.json())["mac"] == OTHER_MAC
        assert (await (await client.get(CLASHES)).json())["total"] == 0


async def test_a_newcomer_that_clashes_is_answered_409(parts):
    body = {"ticket": await parts.ticket(OTHER_MAC), "macs": [OTHER_MAC], "identity": {"dmi_uuid": "", "serial": ""}}
    known = next(iter(parts.ledger.read_all(type(parts.machine("m-52-54-00-00-00-01")))))
    body["identity"] = {"dmi_uuid": known.identity.dmi_uuid, "serial": known.identity.serial}
    async with serving(parts.agents_app()) as client:
        response = await client.post("/api/v1/register", json=body)
        said = await response.json()
        assert (response.status, said["code"]) == (409, "identity-clash")
