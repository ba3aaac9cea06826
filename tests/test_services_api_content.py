"""Content through HTTP."""

from tests.parts import operator, problem

API = "/api/v1"


async def test_an_unknown_stage_in_a_workflow_is_named_with_the_choices_and_it_is_not_available_until_then(parts):
    async with await operator(parts) as client:
        answer = await client.put(f"{API}/workflows/mine", json={"stages": ["discover", "later"]})
        shown = await answer.json()
        assert answer.status == 201 and not shown["available"]
        assert shown["errors"][0].startswith("stages[1]: unknown stage 'later'; there is: discover, finish")
        listed = await (await client.get(f"{API}/workflows", params={"available": "false"})).json()
        assert [each["name"] for each in listed["items"]] == ["mine"]
        await client.post(f"{API}/stages", json={"name": "later"})
        shown = await (await client.get(f"{API}/workflows/mine")).json()
        assert (shown["available"], shown["errors"]) == (True, [])


async def test_a_value_of_no_declared_param_is_refused_with_the_choices(parts):
    async with await operator(parts) as client:
        body = await problem(await client.put(f"{API}/profiles/mine", json={"params": {"size": 1}}), 422)
        assert "unknown param 'size'; there is: " in body["detail"]
        assert [error["path"] for error in body["errors"]] == ["params.size"]
        await problem(await client.get(f"{API}/profiles/mine"), 404)


async def test_what_was_read_can_be_sent_back_and_patched(parts):
    async with await operator(parts) as client:
        await client.post(f"{API}/workflows", json={"name": "mine", "stages": ["later"]})
        shown = await (await client.get(f"{API}/workflows/mine")).json()
        assert (await client.put(f"{API}/workflows/mine", json=shown)).status == 200
        assert (await client.patch(f"{API}/workflows/mine", json={"description": "x"})).status == 200
        assert (await client.post(f"{API}/workflows", json={**shown, "name": "other"})).status == 201


async def test_content_is_made_saved_and_removed(parts):
    async with await operator(parts) as client:
        assert (await client.post(f"{API}/stages", json={"name": "mine", "tasks": ["one"]})).status == 201
        body = await problem(await client.post(f"{API}/stages", json={"name": "mine"}), 409)
        assert body["code"] == "name-taken"
        assert (await client.put(f"{API}/stages/mine", json={"tasks": ["two"]})).status == 200
        assert (await (await client.get(f"{API}/stages/mine")).json())["tasks"] == ["two"]
        assert (await client.delete(f"{API}/stages/mine")).status == 200
        assert (await problem(await client.put(f"{API}/stages/discover", json={}), 409))["code"] == "read-only"
