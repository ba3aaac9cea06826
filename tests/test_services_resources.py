"""What all named objects have in common, shown on subnets and stages."""

import pytest

from tests.parts import problem, serving

API = "/api/v1"
SUBNET = {"name": "rack", "cidr": "10.0.0.0/24", "description": "one"}
JSON_PATCH = {"Content-Type": "application/json-patch+json"}


@pytest.fixture
async def client(parts):
    async with serving(parts.operators_app(), await parts.secret()) as client:
        yield client


async def test_an_object_is_made_read_patched_replaced_and_removed(client):
    made = await client.post(f"{API}/subnets", json=SUBNET)
    assert (made.status, made.headers["Location"]) == (201, f"{API}/subnets/rack")
    assert (await problem(await client.post(f"{API}/subnets", json=SUBNET), 409))["code"] == "name-taken"
    read = await client.get(made.headers["Location"])
    assert read.headers["ETag"] == made.headers["ETag"]
    patched = await client.patch(f"{API}/subnets/rack", json={"gateway": "10.0.0.1", "description": None})
    shown = await patched.json()
    assert (shown["gateway"], shown["description"]) == ("10.0.0.1", "")
    steps = [{"op": "add", "path": "/dns_servers/-", "value": "10.0.0.2"}, {"op": "remove", "path": "/gateway"}]
    shown = await (await client.patch(f"{API}/subnets/rack", json=steps, headers=JSON_PATCH)).json()
    assert (shown["dns_servers"], shown["gateway"]) == (["10.0.0.2"], "")
    assert (await client.put(f"{API}/subnets/rack", json=SUBNET)).status == 200
    assert (await (await client.delete(f"{API}/subnets/rack")).json())["description"] == "one"
    assert "there is none yet" in (await problem(await client.get(f"{API}/subnets/rack"), 404))["detail"]


async def test_a_change_is_bound_to_what_was_seen(client):
    tag = (await client.post(f"{API}/subnets", json=SUBNET)).headers["ETag"]
    assert (await client.get(f"{API}/subnets/rack", headers={"If-None-Match": tag})).status == 304
    changed = await client.patch(f"{API}/subnets/rack", json={"description": "two"}, headers={"If-Match": tag})
    assert changed.status == 200 and changed.headers["ETag"] != tag
    for method, sent in (("PATCH", {"description": "x"}), ("PUT", SUBNET), ("DELETE", None)):
        late = await client.request(method, f"{API}/subnets/rack", json=sent, headers={"If-Match": tag})
        assert (await problem(late, 412))["code"] == "precondition-failed"
    new = await client.put(f"{API}/subnets/rack", json=SUBNET, headers={"If-None-Match": "*"})
    await problem(new, 412)


@pytest.mark.parametrize(
    ("sent", "paths"),
    [
        ({"name": "other"}, ["name"]),
        ({"cidr": 5, "odd": 1, "lease_seconds": "x"}, ["cidr", "lease_seconds", "odd"]),
        ({"cidr": "10.0.0.0/99"}, ["cidr"]),
        ([], ["body"]),
    ],
    ids=str,
)
async def test_a_wrong_patch_names_every_wrong_field_and_changes_nothing(client, sent, paths):
    made = await client.post(f"{API}/subnets", json=SUBNET)
    body = await problem(await client.patch(f"{API}/subnets/rack", json=sent), 422)
    assert sorted(error["path"] for error in body["errors"]) == paths
    assert (await client.get(f"{API}/subnets/rack")).headers["ETag"] == made.headers["ETag"]


async def test_names_with_slashes_are_names(client):
    param = {"name": "site/a/b", "schema": {"type": "string"}}
    made = await client.post(f"{API}/params", json=param)
    assert made.headers["Location"] == f"{API}/params/site/a/b"
    assert (await client.patch(f"{API}/params/site/a/b", json={"description": "x"})).status == 200
    assert (await (await client.get(f"{API}/params", params={"name:like": "site/*"})).json())["total"] == 1


async def test_objects_of_packs_are_read_only(client):
    for method in ("PATCH", "PUT", "DELETE"):
        body = await problem(await client.request(method, f"{API}/stages/discover", json={}), 409)
        assert body["code"] == "read-only"


async def test_what_is_not_there_is_answered_with_what_is(client):
    for method in ("GET", "PATCH", "DELETE"):
        sent = {} if method == "PATCH" else None
        body = await problem(await client.request(method, f"{API}/stages/nowhere", json=sent), 404)
        assert "unknown stage 'nowhere'; there is: discover" in body["detail"]


async def test_lists_are_filtered_sorted_and_paged(client):
    first = await (await client.get(f"{API}/stages", params={"limit": "2", "sort": "-name"})).json()
    assert [each["name"] for each in first["items"]] == sorted((each["name"] for each in first["items"]), reverse=True)
    second = await (
        await client.get(f"{API}/stages", params={"limit": "2", "sort": "-name", "cursor": first["next"]})
    ).json()
    assert second["items"][0]["name"] < first["items"][1]["name"]
    assert (await (await client.get(f"{API}/stages", params={"tasks": "redo"})).json())["total"] == 2
    await problem(await client.get(f"{API}/stages", params={"colour": "red"}), 400)
