"""Routes as data: paths, words, and queries that nobody would look at."""

import pytest
from aiohttp import web

from provisioner.errors import Invalid
from provisioner.services.operations import Operation, Query, refuse_unknown, routes


async def look(request: web.Request) -> web.Response:
    """Have a look."""
    return web.Response()


def test_a_path_is_shown_without_its_patterns():
    operation = Operation("GET", "/things/{thing}/parts/{name:.+}", look, "things")
    assert operation.place == "/things/{thing}/parts/{name}"
    assert operation.placeholders == ("thing", "name")


def test_what_it_does_is_said_by_the_handler_unless_told():
    assert Operation("GET", "/", look, "things").words == "Have a look."
    assert Operation("GET", "/", look, "things", summary="Look.").words == "Look."


def test_there_is_a_route_for_each():
    made = routes([Operation(method, "/", look, "things") for method in ("GET", "POST")])
    assert [(route.method, route.path) for route in made] == [("GET", "/"), ("POST", "/")]


def test_an_unknown_query_field_is_named_with_those_there_are():
    refuse_unknown({"wait": "1"}, ["wait", "offset"])
    with pytest.raises(Invalid, match="unknown query field 'wit'; there is: offset, wait") as caught:
        refuse_unknown({"wit": "1"}, [Query("wait", "").name, "offset"])
    assert (caught.value.status, caught.value.fields[0].path) == (400, "wit")
    with pytest.raises(Invalid, match="it takes none"):
        refuse_unknown({"wit": "1"}, [])
