"""The OpenAPI document: valid, complete, and true to the types."""

import msgspec
import pytest
from jsonschema import Draft202012Validator

from provisioner.errors import ProvisionerError
from provisioner.services.http import problem
from provisioner.services.openapi import TAGS
from tests.parts import opened


@pytest.fixture
async def document(tmp_path):
    async with opened(tmp_path) as parts:
        yield parts.surface().document


def operations(document):
    return [each for methods in document["paths"].values() for each in methods.values()]


def references(value):
    if isinstance(value, dict):
        yield from ([value["$ref"]] if isinstance(value.get("$ref"), str) else [])
        for each in value.values():
            yield from references(each)
    elif isinstance(value, list):
        for each in value:
            yield from references(each)


async def test_every_operation_has_its_own_name_words_and_answers(document):
    names = [each["operationId"] for each in operations(document)]
    assert len(names) == len(set(names))
    for each in operations(document):
        assert each["summary"] and each["tags"][0] in TAGS
        assert any(status.startswith("2") for status in each["responses"])


async def test_every_reference_leads_somewhere(document):
    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert set(references(document["paths"])) <= known


async def test_every_schema_is_a_schema(document):
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


async def test_every_example_fits_its_schema(document):
    found = 0
    for each in operations(document):
        for media in each.get("requestBody", {}).get("content", {}).values():
            if "example" in media and "patch" not in each["operationId"]:
                schema = {**media["schema"], "components": document["components"]}
                assert list(Draft202012Validator(schema).iter_errors(media["example"])) == []
                found += 1
    assert found > 8


async def test_a_problem_fits_its_schema(document):

    sent = msgspec.json.decode(problem(ProvisionerError("broken", object="x")).body)
    schema = {"$ref": "#/components/schemas/Problem", "components": document["components"]}
    assert list(Draft202012Validator(schema).iter_errors(sent)) == []


async def test_lists_are_described_with_their_paging_and_changes_with_their_preconditions(document):
    listed = {each["name"] for each in document["paths"]["/api/v1/machines"]["get"]["parameters"]}
    assert {"limit", "cursor", "sort", "aggregate"} <= listed
    patch = document["paths"]["/api/v1/machines/{machine}"]["patch"]
    assert {"If-Match", "force"} <= {each["name"] for each in patch["parameters"]}
    assert "application/json-patch+json" in patch["requestBody"]["content"]
    assert {"409", "412", "415", "422"} <= set(patch["responses"])
    made = document["paths"]["/api/v1/machines"]["post"]
    assert "Idempotency-Key" in {each["name"] for each in made["parameters"]}
