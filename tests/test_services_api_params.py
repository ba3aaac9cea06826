"""A machine's params through HTTP."""

import pytest

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
