"""Logging in and out, users and tokens through HTTP."""

import pytest

from tests.parts import PASSWORD, serving

API = "/api/v1"


@pytest.fixture
async def client(parts):
    async with serving(parts.operators_app(), await parts.secret()) as client:
        yield client


async def test_a_login_needs_the_right_password(client):
    said = {"username": "admin", "password": PASSWORD}
    assert (await client.post(f"{API}/login", json=said)).status == 200
    assert (await client.post(f"{API}/login", json=said | {"password": "x"})).status == 401


async def test_users_are_made_listed_and_removed_and_their_passwords_never_shown(client):
    made = await client.post(f"{API}/users", json={"name": "ada", "password": "long enough"})
    assert (made.status, made.headers["Location"]) == (201, f"{API}/users/ada")
    listed = await client.get(f"{API}/users", params={"role": "admin", "sort": "-name"})
    assert [each["name"] for each in (await listed.json())["items"]] == ["admin", "ada"]
    assert "argon2" not in await listed.text() and (await client.get(f"{API}/users/ada")).status == 200
    assert (await client.put(f"{API}/users/ada/password", json={"password": "even longer"})).status == 204
    assert (await client.post(f"{API}/login", json={"username": "ada", "password": "even longer"})).status == 200
    assert (await client.delete(f"{API}/users/ada")).status == 200
    assert (await client.delete(f"{API}/users/admin")).status == 409


async def test_a_short_password_is_refused(client):
    answer = await client.post(f"{API}/users", json={"name": "ada", "password": "short"})
    assert (answer.status, (await answer.json())["errors"][0]["path"]) == (422, "password")


async def test_tokens_are_made_listed_and_revoked_and_their_secrets_told_once(client):
    made = await (await client.post(f"{API}/tokens", json={"description": "nightly", "days": 1})).json()
    headers = {"Authorization": f"Bearer {made['token']}"}
    assert (await client.get(f"{API}/machines", headers=headers)).status == 200
    listed = await client.get(f"{API}/tokens", params={"description": "nightly"})
    (found,) = (await listed.json())["items"]
    assert (found["id"], found["subject"], found["purpose"]) == (made["id"], "admin", "api")
    assert made["token"] not in await listed.text() and found["expires_at"] == "2026-01-02T12:00:00Z"
    assert (await client.delete(f"{API}/tokens/{made['id']}")).status == 200
    assert (await client.get(f"{API}/machines", headers=headers)).status == 401
    assert (await client.get(f"{API}/tokens/{made['id']}")).status == 404


@pytest.mark.parametrize("body", [{"days": -1}, {"days": 1e300}, {"user": 1}], ids=str)
async def test_a_token_that_cannot_be_is_refused(client, body):
    assert (await client.post(f"{API}/tokens", json=body)).status == 422


async def test_users_and_tokens_are_no_business_of_the_provisioning_network(parts):
    async with serving(parts.agents_app(), await parts.secret()) as client:
        for path in ("users", "tokens"):
            assert (await client.get(f"{API}/{path}")).status == 404


async def test_no_cache_keeps_an_answer_that_tells_a_secret(client):
    login = await client.post("/api/v1/login", json={"username": "admin", "password": PASSWORD})
    made = await client.post("/api/v1/tokens", json={})
    assert [answer.headers.get("Cache-Control") for answer in (login, made)] == ["no-store", "no-store"]
