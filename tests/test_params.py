"""Params: precedence, composing, secrets, schemas."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.model.content import Param, Profile, Stage, Task
from provisioner.model.machines import Machine
from provisioner.params import (
    REDACTED,
    Layer,
    Params,
    Resolved,
    check_schema,
    hide,
    missing,
    redact,
    resolve,
    validate,
    validate_all,
    why,
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
    Profile(name="of-stage", params={"x": "of-stage"}, profiles=("in-of-stage",)),
    Profile(name="in-of-stage", params={"x": "in-of-stage"}),
    Profile(name="global", params={"x": "global"}, profiles=("in-global",)),
    Profile(name="in-global", params={"x": "in-global"}),
    Stage(name="s", params={"x": "stage"}, profiles=("of-stage",)),
    Param(name="x", default="default"),
)
ORDER = ["machine", "first", "nested", "second", "stage", "of-stage", "in-of-stage", "global", "in-global", "default"]


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
    found = resolve(machine(), content(Param(name="x", default=None)))
    assert found == {"x": Resolved(None, "default", (Layer("default", "api edit", None),))}


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
    assert found.value == {"a": "profile", "b": "machine", "d": {"x": 1, "y": 2}}
    assert found.source == "machine + profile:p + default"


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
SEALED = {"$sealed": "key:data"}


def test_a_value_of_a_secure_param_is_secure() -> None:
    params = Params(SECRETS)
    found = params.resolve(machine(params={"secret": SEALED, "open": 1}))
    assert [name for name, each in found.items() if params.is_secure(name, each)] == ["secret"]


def test_a_value_once_sealed_stays_secure_though_its_param_no_longer_is() -> None:
    params = Params(SECRETS)
    found = params.resolve(machine(params={"open": SEALED, "gone": SEALED}))
    assert [name for name, each in found.items() if params.is_secure(name, each)] == ["gone", "open"]


def test_a_sealed_value_below_another_does_not_make_that_secure() -> None:
    objects = content(Param(name="open"), Profile(name="global", params={"open": SEALED}))
    params = Params(objects)
    assert not params.is_secure("open", params.resolve(machine(params={"open": 1}))["open"])


def test_a_composed_value_with_a_sealed_layer_is_secure_and_not_put_together() -> None:
    objects = content(Param(name="m", compose=True), Profile(name="global", params={"m": SEALED}))
    params = Params(objects)
    found = params.resolve(machine(params={"m": {"a": 1}}))["m"]
    assert params.is_secure("m", found) and found.value == {"a": 1}


def test_redacting_hides_the_value_and_keeps_the_name() -> None:
    assert redact({"secret": "hush", "open": 1}, SECRETS) == {"secret": REDACTED, "open": 1}


def test_redacting_hides_what_is_sealed_whatever_its_param_says() -> None:
    assert redact({"open": SEALED, "gone": SEALED}, SECRETS) == {"open": REDACTED, "gone": REDACTED}


@pytest.mark.parametrize(
    "value",
    [
        machine(params={"secret": SEALED, "open": 1}),
        Profile(name="p", params={"secret": SEALED, "open": 1}),
        Stage(name="s", params={"secret": SEALED, "open": 1}),
    ],
    ids=lambda value: value.kind,
)
def test_what_is_sealed_in_an_object_is_hidden_and_the_rest_stays(value: Any) -> None:
    assert hide(value).params == {"secret": REDACTED, "open": 1}
    assert value.params["secret"] == SEALED


def test_a_sealed_default_is_hidden() -> None:
    assert hide(Param(name="secret", secure=True, default=SEALED)).default == REDACTED


@pytest.mark.parametrize("value", [Task(name="t"), Param(name="p"), Profile(name="p", params={"open": 1})], ids=str)
def test_an_object_without_anything_sealed_is_itself(value: Any) -> None:
    assert hide(value) is value


def test_nobody_may_set_what_looks_sealed() -> None:
    (error,) = validate("open", SEALED, Param(name="open"))
    assert error.message.startswith("a value may not be a map of '$sealed' alone")


def test_every_missing_required_param_is_named() -> None:
    errors = missing(["a", "open", "b"], {"open"}, "task write")
    assert [error.path for error in errors] == ["params.a", "params.b"]
    assert errors[0].message == "task write needs param 'a', which has no value on this machine"


def test_a_value_that_does_not_fit_is_told_with_its_path() -> None:
    param = Param(name="net", schema={"properties": {"dns": {"items": {"type": "string"}}}})
    (error,) = validate("net", {"dns": ["a", 3]}, param)
    assert (error.path, error.message) == ("net.dns[1]", "3 is not of type 'string'")


def test_an_enum_tells_the_choices() -> None:
    (error,) = validate("driver", "smoke", Param(name="driver", schema={"enum": ["ipmi", "redfish"]}))
    assert error.message == "'smoke' is not one of: ipmi, redfish"


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


# --- precedence against a simple-minded account of it ---------------------------------------------------------

NAMES = ["a", "b", "c"]
PROFILES = ["p", "q", "r", "global"]
values = st.dictionaries(st.sampled_from(NAMES), st.integers(0, 9), max_size=3)
some_profiles = st.lists(st.sampled_from(PROFILES), max_size=3, unique=True).map(tuple)
profile_sets = st.fixed_dictionaries({name: st.tuples(values, some_profiles) for name in PROFILES})


def expected(name: str, own: dict[str, int], chosen: Any, stage: Any, profiles: Any, defaults: dict[str, int]) -> Any:
    """The first of all layers written out in order that has the name; profiles met before say nothing new."""

    def flat(names: Any, met: tuple[str, ...] = ()) -> list[dict[str, int]]:
        found = []
        for each in names:
            if each not in met:
                params, inner = profiles[each]
                found += [params, *flat(inner, (*met, each))]
        return found

    order = [own, *flat(chosen), stage[0], *flat(stage[1]), *flat(("global",)), defaults]
    return next((layer[name] for layer in order if name in layer), None)


@given(own=values, chosen=some_profiles, stage=st.tuples(values, some_profiles), profiles=profile_sets, defaults=values)
def test_the_winner_is_the_first_of_all_layers_in_order(
    own: Any, chosen: Any, stage: Any, profiles: Any, defaults: Any
) -> None:
    objects = content(
        *(Profile(name=name, params=params, profiles=inner) for name, (params, inner) in profiles.items()),
        Stage(name="s", params=stage[0], profiles=stage[1]),
        *(Param(name=name, default=value) for name, value in defaults.items()),
    )
    found = resolve(machine(params=own, profiles=chosen, stage="s"), objects)
    wanted = {name: expected(name, own, chosen, stage, profiles, defaults) for name in NAMES}
    assert {name: each.value for name, each in found.items()} == {k: v for k, v in wanted.items() if v is not None}
    assert list(found) == sorted(found)


def test_machines_that_share_profiles_and_stage_do_not_share_their_own_values() -> None:
    params = Params(content(Profile(name="p", params={"x": 1, "y": 1})))
    first = params.resolve(machine(profiles=("p",), params={"x": 2, "z": 2}))
    second = params.resolve(machine(profiles=("p",)))
    assert [each.value for each in first.values()] == [2, 1, 2]
    assert {name: each.value for name, each in second.items()} == {"x": 1, "y": 1}


def test_a_great_many_sets_of_profiles_are_all_resolved_rightly() -> None:
    params = Params(content(*(Profile(name=f"p{number}", params={"x": number}) for number in range(1500))))
    assert all(params.resolve(machine(profiles=(f"p{number}",)))["x"].value == number for number in range(1500))


# --- why ------------------------------------------------------------------------------------------------------

LAYERED = content(
    Param(name="x", default=0, pack="base"),
    Param(name="m", compose=True, default={"a": 0}, pack="base"),
    Param(name="secret", secure=True),
    Profile(name="p", params={"x": 1, "m": {"b": 1}}, pack="site"),
    Profile(name="global", params={"x": 2, "secret": SEALED}),
)
LAYERED_MACHINE = machine(profiles=("p",), params={"m": {"c": 2}})


def test_why_names_layer_and_pack_and_what_was_overridden() -> None:
    told = why(LAYERED_MACHINE, LAYERED)["x"]
    assert (told.value, told.source, told.origin, told.composed) == (1, "profile:p", "pack site", False)
    assert [(layer.source, layer.origin, layer.effect, layer.value) for layer in told.layers] == [
        ("profile:p", "pack site", "used", 1),
        ("profile:global", "api edit", "overridden", 2),
        ("default", "pack base", "overridden", 0),
    ]


def test_why_names_every_layer_that_was_composed() -> None:
    told = why(LAYERED_MACHINE, LAYERED)["m"]
    assert (told.value, told.source, told.origin) == (
        {"a": 0, "b": 1, "c": 2},
        "machine + profile:p + default",
        "machine",
    )
    assert [(layer.source, layer.effect) for layer in told.layers] == [
        ("machine", "composed"),
        ("profile:p", "composed"),
        ("default", "composed"),
    ]


def test_why_says_that_a_layer_of_another_shape_was_overridden() -> None:
    told = why(machine(params={"m": ["c"]}, profiles=("p",)), LAYERED)["m"]
    assert [layer.effect for layer in told.layers] == ["used", "overridden", "overridden"]


def test_why_shows_no_secure_value_in_any_layer() -> None:
    told = why(machine(params={"secret": SEALED}), LAYERED)["secret"]
    assert told.secure and told.value == REDACTED and [layer.value for layer in told.layers] == [REDACTED] * 2


# --- values with templates ------------------------------------------------------------------------------------


def test_where_a_value_holds_a_template_its_schema_waits() -> None:
    param = Param(name="n", expand=True, schema={"type": "object", "properties": {"mtu": {"type": "integer"}}})
    assert validate("n", {"mtu": "{{ param('mtu') }}"}, param) == []
    assert [error.path for error in validate("n", {"mtu": "x"}, param)] == ["n.mtu"]


def test_without_expand_a_template_is_text_like_any_other() -> None:
    assert validate("n", "{{ 1 }}", Param(name="n", schema={"type": "integer"}))
