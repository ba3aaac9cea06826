"""The checks that routes begin with."""

import pytest

from tests.parts import opened, serving

API = "/api/v1"


@pytest.fixture
async def parts(tmp_path):
    async with opened(tmp_path) as parts:
        yield parts


async def test_a_body_needs_no_name_but_must_not_contradict_the_path(parts):
    async with serving(parts.operators_app(), await parts.secret()) as client:
        assert (await client.put(f"{API}/stages/mine", json={})).status == 200
        assert (await client.put(f"{API}/stages/mine", json={"name": "mine"})).status == 200
        assert (await client.put(f"{API}/stages/mine", json={"name": "yours"})).status == 422
