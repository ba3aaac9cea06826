"""Content through HTTP."""

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


async def test_an_unknown_stage_in_a_workflow_is_named_with_the_choices(parts):
    async with await operator(parts) as client:
        answer = await client.put(f"{API}/workflows/mine", json={"stages": ["discover", "nowhere"]})
        body = await problem(answer, 422)
        assert "unknown stage 'nowhere'; there is: discover, finish" in body["detail"]
        assert [error["path"] for error in body["errors"]] == ["stages[1]"]
        await problem(await client.get(f"{API}/workflows/mine"), 404)


async def test_content_is_made_saved_and_removed(parts):
    async with await operator(parts) as client:
        assert (await client.post(f"{API}/stages", json={"name": "mine", "tasks": ["one"]})).status == 201
        body = await problem(await client.post(f"{API}/stages", json={"name": "mine"}), 409)
        assert body["code"] == "name-taken"
        assert (await client.put(f"{API}/stages/mine", json={"tasks": ["two"]})).status == 200
        assert (await (await client.get(f"{API}/stages/mine")).json())["tasks"] == ["two"]
        assert (await client.delete(f"{API}/stages/mine")).status == 200
        assert (await problem(await client.put(f"{API}/stages/discover", json={}), 409))["code"] == "read-only"
