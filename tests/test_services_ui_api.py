"""The browsable page of the API."""

from aiohttp import ClientSession, CookieJar

from provisioner.services.ui_api import api_view
from tests.test_server import running


def places(view):
    return {f"{each['method']} {each['path']}" for group in view["groups"] for each in group["operations"]}


async def test_operations_are_found_by_their_words(parts):
    document = parts.surface().document
    everything = api_view(document, "")
    assert everything["total"] == sum(len(methods) for methods in document["paths"].values())
    assert places(api_view(document, "PATCH subnets")) == {"PATCH /api/v1/subnets/{name}"}
    assert api_view(document, "nothing like this")["groups"] == []


async def test_only_what_needs_nothing_typed_is_offered_to_try(parts):
    groups = api_view(parts.surface().document, "")["groups"]
    offered = {each["path"] for group in groups for each in group["operations"] if each["open"]}
    assert "/api/v1/machines" in offered
    assert not {"/api/v1/logs", "/api/v1/machines/{machine}", "/api/v1/events/stream"} & offered


def test_without_a_document_there_is_nothing_to_show():
    assert api_view({}, "")["total"] == 0


async def test_the_page_shows_every_operation_to_who_is_logged_in(tmp_path):
    async with running(tmp_path) as (server, said):
        url = f"http://127.0.0.1:{server.port('ui')}"
        password = said[0].split("password ")[1].split("\n")[0]
        async with ClientSession(url, cookie_jar=CookieJar(unsafe=True)) as session:
            asked = await session.get("/api/docs", allow_redirects=False)
            assert (asked.status, asked.headers["Location"]) == (303, "/login?next=%2Fapi%2Fdocs")
            await session.post("/login", data={"username": "admin", "password": password}, headers={"Origin": url})
            text = await (await session.get("/api/docs")).text()
            document = await (await session.get("/api/v1/openapi.json")).json()
            assert text.count('data-testid="operation"') == api_view(document, "")["total"] > 50
            found = await (await session.get("/api/docs?q=leases&fragment=operations")).text()
            assert found.count('data-testid="operation"') == 3 and "<html" not in found
