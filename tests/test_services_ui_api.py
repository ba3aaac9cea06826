"""The browsable page of the API."""

from pathlib import Path

import pytest
from aiohttp import web

from provisioner.model import TokenPurpose
from provisioner.services.http import SESSION_COOKIE, App
from provisioner.services.ui import Ui
from provisioner.services.ui_api import api_view
from tests.parts import opened, serving

TEMPLATES = Path(__file__).parent.parent / "templates"


@pytest.fixture
async def parts(tmp_path):
    async with opened(tmp_path) as parts:
        yield parts


def app(parts) -> web.Application:
    surface = parts.surface()
    needed = parts.machines, parts.jobs, parts.actions, parts.database, parts.tokens
    ui = Ui(parts.ledger, parts.catalog, *needed, TEMPLATES, document=surface.document)
    return App(parts.tokens, cookies=True, error_page=ui.error_page).build([surface.for_people(), ui.routes()])


def places(view):
    return {f"{each['method']} {each['path']}" for group in view["groups"] for each in group["operations"]}


async def test_operations_are_found_by_their_words(parts):
    document = parts.surface().document
    everything = api_view(document, "")
    assert everything["total"] == sum(len(methods) for methods in document["paths"].values())
    assert places(api_view(document, "PATCH subnets")) == {"PATCH /api/v1/subnets/{name}"}
    assert api_view(document, "nothing like this")["groups"] == []


def test_without_a_document_there_is_nothing_to_show():
    assert api_view({}, "")["total"] == 0


async def test_the_page_shows_every_operation_to_who_is_logged_in(parts):
    cookie = f"{SESSION_COOKIE}={await parts.secret(TokenPurpose.SESSION)}"
    async with serving(app(parts)) as client:
        asked = await client.get("/api/docs", allow_redirects=False)
        assert (asked.status, asked.headers["Location"]) == (303, "/login?next=%2Fapi%2Fdocs")
        text = await (await client.get("/api/docs", headers={"Cookie": cookie})).text()
        assert text.count('data-testid="operation"') == api_view(parts.surface().document, "")["total"]
        assert '<script type="module"' in text and "http://" not in text.partition("</head>")[0]
        found = await (await client.get("/api/docs?q=leases&fragment=operations", headers={"Cookie": cookie})).text()
        assert found.count('data-testid="operation"') == 2 and "<html" not in found
