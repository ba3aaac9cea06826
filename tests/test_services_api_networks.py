"""Subnets, reservations and leases through HTTP."""

import pytest

from tests.parts import MAC, operator, problem

API = "/api/v1"


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("stages/mine", {"name": "yours"}, "name"),
        ("stages/mine", {"tasks": "one"}, "tasks"),
        ("subnets/mine", {"name": "yours", "cidr": "10.0.0.0/24"}, "name"),
        ("subnets/mine", {"cidr": "10.0.0.0/240"}, "cidr"),
        ("subnets/mine", {"cidr": "10.0.0.0/24", "options": {"router": "gate"}}, "options.router"),
        ("subnets/mine", {"cidr": "10.0.0.0/24", "lease_seconds": "long"}, "lease_seconds"),
        ("reservations/10.0.0.5", {"address": "10.0.0.6", "mac": MAC}, "address"),
        ("reservations/10.0.0.5", {"mac": "x"}, "mac"),
    ],
    ids=str,
)
async def test_a_wrong_object_names_its_field_and_is_not_saved(parts, path, body, field):
    async with await operator(parts) as client:
        answer = await problem(await client.put(f"{API}/{path}", json=body), 422)
        assert [error["path"] for error in answer["errors"]] == [field]
        await problem(await client.get(f"{API}/{path}"), 404)


@pytest.mark.parametrize("written", ["5254.00aa.bb01", "525400aabb01", "52-54-00-AA-BB-01"])
async def test_a_reservation_passes_to_another_mac_however_that_is_written(parts, written):
    path = f"{API}/reservations/10.0.0.5"
    async with await operator(parts) as client:
        for change in (client.put, client.patch):
            assert (await client.put(path, json={"mac": MAC})).status in (200, 201)
            answer = await change(path, json={"mac": written})
            assert (answer.status, (await answer.json())["mac"]) == (200, "52:54:00:aa:bb:01")
        await problem(await client.patch(path, json={"mac": "5254.00aa.bb0"}), 422)


async def test_subnets_and_reservations_are_saved_under_their_address(parts):
    async with await operator(parts) as client:
        for path, body in (("subnets/mine", {"cidr": "10.0.0.0/24"}), ("reservations/10.0.0.5", {"mac": MAC})):
            assert (await client.put(f"{API}/{path}", json=body)).status == 201
            assert (await client.put(f"{API}/{path}", json=body)).status == 200
            assert (await client.delete(f"{API}/{path}")).status == 200
