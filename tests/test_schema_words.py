"""What a value that does not fit its schema is answered with."""

import pytest
from jsonschema import Draft202012Validator

from provisioner.schema_words import said_of

LOADERS = {"enum": ["ipxe", "grub"]}
ROW = {
    "type": "object",
    "properties": {"match": {"type": "object"}, "loader": LOADERS},
    "required": ["match"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("schema", "value", "says"),
    [
        (LOADERS, "grubb", ["'grubb' is not one of: ipxe, grub"]),
        (ROW, {}, ["'match' is missing"]),
        (ROW, {"match": {}, "x": 1}, ["unknown: 'x'; there is: loader, match"]),
        ({"minLength": 3}, "ab", ["'ab' must have 3 or more characters"]),
        ({"maxLength": 1}, "ab", ["'ab' must have at most 1 characters"]),
        ({"minItems": 1}, [], ["[] must have 1 or more entries"]),
        ({"maxItems": 1}, [1, 2], ["[1, 2] must have at most 1 entries"]),
        ({"uniqueItems": True}, [1, 1], ["[1, 1] names something twice"]),
        ({"type": "integer"}, "x", ["'x' is not of type 'integer'"]),
        ({"additionalProperties": False}, {"a": 1}, ["Additional properties are not allowed ('a' was unexpected)"]),
        (
            {"oneOf": [LOADERS, {"type": "array", "items": LOADERS}]},
            ["grubb"],
            ["['grubb'] is not one of: ipxe, grub; or [0]: 'grubb' is not one of: ipxe, grub"],
        ),
        (
            {"anyOf": [LOADERS, {"type": "array"}]},
            "grubb",
            ["'grubb' is not one of: ipxe, grub; or 'grubb' is not of type 'array'"],
        ),
    ],
)
def test_a_value_that_does_not_fit_is_answered_with_what_would(schema, value, says):
    assert [said_of(each) for each in Draft202012Validator(schema).iter_errors(value)] == says


def test_a_long_value_is_cut():
    (error,) = Draft202012Validator(LOADERS).iter_errors("x" * 500)
    assert len(said_of(error)) < 120
