"""All of the API: routed, and described."""

from tests.parts import serving

DOCUMENT = "/api/v1/openapi.json"


async def test_every_route_is_in_the_document_and_no_other(parts):
    surface = parts.surface()
    routed = {(route.path, route.method) for route in [*surface.for_people(), *surface.for_machines()]}
    described = {(path, method) for path, methods in surface.document["paths"].items() for method in methods}
    assert len(routed) == len(described)


async def test_the_document_is_served_to_anybody_and_named_by_its_tag(parts):
    for app in (parts.operators_app(), parts.agents_app()):
        async with serving(app) as client:
            answer = await client.get(DOCUMENT)
            document = await answer.json()
            assert document["openapi"].startswith("3.1") and document["paths"][DOCUMENT]
            assert (await client.get(DOCUMENT, headers={"If-None-Match": answer.headers["ETag"]})).status == 304
