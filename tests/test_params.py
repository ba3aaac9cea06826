"""Params: precedence, composing, secrets, schemas."""

from datetime import UTC, datetime
from typing import Any

import pytest

from provisioner.model import Machine, Param, Profile, Stage, Task
from provisioner.params import (
    REDACTED,
    Resolved,
    check_schema,
    for_task,
    missing,
    plain,
    redact,
    resolve,
    validate,
    validate_all,
)

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def machine(**fields: Any) -> Machine:
    return Machine(id="m", name="m", created_at=NOW, updated_at=NOW, **fields)


def content(*objects: Any) -> dict[str, dict[str, Any]]:
    view: dict[str, dict[str, Any]] = {"params": {}, "profiles": {}, "stages": {}}
    for value in objects:
        view[value.kind][value.name] = value
    return view


EVERY_LAYER = (
    Profile(name="first", params={"x": "first"}, profiles=("nested",)),
    Profile(name="nested", params={"x": "nested"}),
    Profile(name="second", params={"x": "second"}),
    Profile(name="of-stage", params={"x": "of-stage"}),
    Profile(name="global", params={"x": "global"}),
    Stage(name="s", params={"x": "stage"}, profiles=("of-stage",)),
    Param(name="x", default="default"),
)
ORDER = ["machine", "first", "nested", "second", "stage", "of-stage", "global", "default"]


@pytest.mark.parametrize("place", range(len(ORDER)), ids=ORDER)
def test_the_nearest_layer_that_has_a_value_wins(place: int) -> None:
    absent = set(ORDER[:place])
    objects = [
        value
        if isinstance(value, Param) or (value.name not in absent and not (value.name == "s" and "stage" in absent))
        else type(value)(name=value.name, profiles=value.profiles)
        for value in EVERY_LAYER
    ]
    params = {} if "machine" in absent else {"x": "machine"}
    it = machine(profiles=("first", "second"), stage="s", params=params)
    assert resolve(it, content(*objects))["x"].value == ORDER[place]


def test_the_source_names_the_layer() -> None:
    objects = content(
        Profile(name="p", params={"b": 1}),
        Profile(name="global", params={"d": 1}),
        Stage(name="s", params={"c": 1}),
        Param(name="e", default=1),
    )
    it = machine(params={"a": 1}, profiles=("p",), stage="s")
    sources = {name: found.source for name, found in resolve(it, objects).items()}
    assert sources == {"a": "machine", "b": "profile:p", "c": "stage:s", "d": "profile:global", "e": "default"}


def test_a_param_without_any_value_is_absent() -> None:
    assert resolve(machine(), content(Param(name="x"))) == {}


def test_a_default_of_null_is_a_value() -> None:
    assert resolve(machine(), content(Param(name="x", default=None))) == {"x": Resolved(None, "default")}


def test_names_of_profiles_and_stages_that_are_gone_are_passed_over() -> None:
    assert resolve(machine(profiles=("gone",), stage="gone"), {}) == {}


def test_profiles_that_include_each_other_end() -> None:
    objects = content(
        Profile(name="a", params={"x": "a"}, profiles=("b",)), Profile(name="b", params={"y": "b"}, profiles=("a",))
    )
    assert set(resolve(machine(profiles=("a",)), objects)) == {"x", "y"}


def test_maps_of_a_composed_param_are_merged_and_the_nearest_key_wins() -> None:
    objects = content(
        Param(name="m", compose=True, default={"a": "default", "d": {"x": 1, "y": 1}}),
        Profile(name="p", params={"m": {"a": "profile", "b": "profile", "d": {"y": 2}}}),
    )
    found = resolve(machine(params={"m": {"b": "machine"}}, profiles=("p",)), objects)["m"]
    assert found == Resolved({"a": "profile", "b": "machine", "d": {"x": 1, "y": 2}}, "machine + profile:p + default")


def test_lists_of_a_composed_param_are_joined_without_repeating() -> None:
    objects = content(Param(name="keys", compose=True), Profile(name="global", params={"keys": ["b", "c"]}))
    assert resolve(machine(params={"keys": ["a", "b"]}), objects)["keys"].value == ["a", "b", "c"]


def test_values_of_different_shape_are_not_composed() -> None:
    objects = content(Param(name="k", compose=True), Profile(name="global", params={"k": ["b"]}))
    assert resolve(machine(params={"k": "a"}), objects)["k"].value == "a"


def test_composing_changes_no_layer() -> None:
    profile = Profile(name="global", params={"m": {"a": 1}})
    resolve(machine(params={"m": {"b": 2}}), content(Param(name="m", compose=True), profile))
    assert profile.params == {"m": {"a": 1}}


SECRETS = content(Param(name="secret", secure=True), Param(name="open"))
RESOLVED = {"secret": Resolved("hush", "machine"), "open": Resolved(1, "machine"), "undeclared": Resolved(2, "machine")}


@pytest.mark.parametrize("field", ["required_params", "optional_params"])
def test_a_secure_param_is_given_to_a_task_that_declares_it(field: str) -> None:
    task = Task(name="t", **{field: ("secret",)})
    assert for_task(task, RESOLVED, SECRETS) == {"secret": "hush", "open": 1, "undeclared": 2}


def test_a_secure_param_is_not_given_to_a_task_that_does_not_declare_it() -> None:
    assert for_task(Task(name="t"), RESOLVED, SECRETS) == {"open": 1, "undeclared": 2}


def test_plain_values_leave_all_secure_ones_out() -> None:
    assert plain(RESOLVED, SECRETS) == {"open": 1, "undeclared": 2}


def test_redacting_hides_the_value_and_keeps_the_name() -> None:
    assert redact({"secret": "hush", "open": 1}, SECRETS) == {"secret": REDACTED, "open": 1}


def test_every_missing_required_param_is_named() -> None:
    errors = missing(["a", "open", "b"], RESOLVED, "task write")
    assert [error.path for error in errors] == ["params.a", "params.b"]
    assert errors[0].message == "task write needs param 'a', which has no value on this machine"


def test_a_value_that_does_not_fit_is_told_with_its_path() -> None:
    param = Param(name="net", schema={"properties": {"dns": {"items": {"type": "string"}}}})
    (error,) = validate("net", {"dns": ["a", 3]}, param)
    assert (error.path, error.message) == ("net.dns[1]", "3 is not of type 'string'")


def test_an_enum_tells_the_choices() -> None:
    (error,) = validate("driver", "smoke", Param(name="driver", schema={"enum": ["ipmi", "redfish"]}))
    assert error.message == "'smoke' is not one of ['ipmi', 'redfish']"


def test_a_secure_value_is_never_quoted() -> None:
    (error,) = validate("secret", "hush", Param(name="secret", secure=True, schema={"type": "integer"}))
    assert error.message == "does not fit its schema (type: integer)"


def test_a_long_complaint_is_cut() -> None:
    (error,) = validate("x", "y" * 9999, Param(name="x", schema={"type": "integer"}))
    assert len(error.message) < 400


def test_an_undeclared_param_is_told_with_those_there_are() -> None:
    (error,) = validate_all({"opem": 1}, SECRETS)
    assert (error.path, error.message) == ("opem", "unknown param 'opem'; there is: open, secret")


def test_a_default_must_fit_its_schema() -> None:
    (error,) = check_schema(Param(name="x", schema={"items": {"type": "string"}}, default=[1]))
    assert (error.path, error.message) == ("default[0]", "1 is not of type 'string'")


def test_a_schema_that_is_none_is_told_with_its_path() -> None:
    (error,) = check_schema(Param(name="x", schema={"properties": {"a": {"type": "strnig"}}}))
    assert error.path == "schema.properties.a.type"


def test_a_schema_may_not_fetch_others() -> None:
    (error,) = check_schema(Param(name="x", schema={"$ref": "http://example.com/s.json"}))
    assert error.message == "$ref 'http://example.com/s.json' leaves the schema; only '#...' is read"


def test_a_schema_that_leads_back_to_itself_is_an_error_and_not_a_crash() -> None:
    (error,) = validate("x", 1, Param(name="x", schema={"$ref": "#"}))
    assert error.path == "x" and error.message.startswith("its schema leads back to itself")


def test_a_schema_that_points_nowhere_is_an_error_and_not_a_crash() -> None:
    (error,) = check_schema(Param(name="x", schema={"$ref": "#/$defs/gone"}, default=1))
    assert error.message.startswith("its schema points to something that is not there")
