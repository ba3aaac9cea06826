"""A machine's params through HTTP."""

import pytest

from provisioner.model import TokenPurpose
from tests.parts import opened, serving

API = "/api/v1"


@pytest.fixture
async def parts(tmp_path):
    async with opened(tmp_path) as parts:
        yield parts


async def operator(parts):
    return serving(parts.operators_app(), await parts.secret())


async def problem(response, status):
    body = await response.json()
    assert (response.status, response.content_type) == (status, "application/problem+json"), body
    return body


async def test_params_are_read_set_and_removed(parts):
    machine = await parts.ready(params={"secret": "s"})
    async with await operator(parts) as client:
        params = f"{API}/machines/{machine}/params"
        assert (await client.put(f"{params}/count", json=7)).status == 204
        assert await (await client.get(params)).json() == {"secret": "********", "count": 7}
        assert (await (await client.get(f"{params}/secret")).json()) == "********"
        await problem(await client.put(f"{params}/count", json="x"), 422)
        assert (await client.delete(f"{params}/count")).status == 204
        assert await (await client.get(params, params={"aggregate": "true"})).json() == {
            "secret": "********",
            "count": 3,
        }
        await problem(await client.get(f"{params}/needed"), 404)


async def test_several_params_are_set_at_once_or_none(parts):
    machine = await parts.ready(params={"colour": "red"})
    async with await operator(parts) as client:
        params = f"{API}/machines/{machine}/params"
        answer = await client.patch(params, json={"count": 5, "needed": "x", "colour": None})
        assert (answer.status, await answer.json()) == (200, {"count": 5, "needed": "x"})
        wrong = await problem(await client.patch(params, json={"count": 6, "needed": 1}), 422)
        assert [error["path"] for error in wrong["errors"]] == ["params.needed"]
        assert await (await client.get(params)).json() == {"count": 5, "needed": "x"}


async def test_a_machine_sets_its_own_params_but_not_those_of_its_power(parts):
    machine = await parts.ready(params={"power/address": "10.0.0.9"})
    async with serving(parts.operators_app(), await parts.secret(TokenPurpose.MACHINE, machine)) as client:
        params = f"{API}/machines/{machine}/params"
        assert (await client.patch(params, json={"count": 5})).status == 200
        await problem(await client.patch(params, json={"count": 6, "power/address": "10.0.0.66"}), 403)
        await problem(await client.patch(params, json={"count": 6, "power/address": None}), 403)
        await problem(await client.patch(f"{API}/machines/another/params", json={"count": 6}), 403)
        assert (await (await client.get(params)).json())["count"] == 5
