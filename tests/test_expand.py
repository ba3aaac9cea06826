"""Params with templates in them: rendered when asked for, referring to each other, never letting a secret out."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.render import Renderer
from provisioner.errors import ProvisionerError
from provisioner.expand import CannotExpand, Expansion
from provisioner.model.content import Bootenv, OperatingSystem, Param, Profile, Task
from provisioner.model.machines import Machine
from provisioner.params import Params, is_sealed

NOW = datetime(2026, 1, 2, tzinfo=UTC)
RENDERER = Renderer()
SECRET = "hush-hush"


def sealed(text: str) -> dict[str, str]:
    return {"$sealed": text}


def opened(value: Any) -> Any:
    """A vault whose seal is a wrapping only."""
    if is_sealed(value) and value["$sealed"] == "lost":
        raise ProvisionerError("its key is not there")
    return value["$sealed"] if is_sealed(value) else value


def template(name: str, value: Any = None, **fields: Any) -> Param:
    return Param(name=name, expand=True, **({"default": value} if value is not None else {}), **fields)


def expansion(*objects: Any, server: dict[str, str] | None = None, **fields: Any) -> Expansion:
    view: dict[str, dict[str, Any]] = {"params": {}, "profiles": {}, "stages": {}, "bootenvs": {}}
    for value in objects:
        view[value.kind][value.name] = value
    machine = Machine(id="m", name="n1", created_at=NOW, updated_at=NOW, **fields)
    return Expansion(machine, Params(view), RENDERER, opened, server)


def reason(error: pytest.ExceptionInfo[CannotExpand]) -> str:
    return error.value.message


# --- rendering ------------------------------------------------------------------------------------------------


def test_a_text_is_rendered_with_the_machine() -> None:
    assert expansion(template("x", "{{ machine.name }}.lab")).value("x").value == "n1.lab"


def test_a_text_is_rendered_with_where_the_machine_stands() -> None:
    bootenv = Bootenv(name="local", os=OperatingSystem("debian", "12"))
    it = expansion(
        bootenv, template("x", "{{ stage.name }} {{ workflow.name }} {{ bootenv.os.version }}"), workflow="w"
    )
    assert it.value("x").value == "none w 12"


def test_the_server_is_the_one_that_whoever_asks_has_reached() -> None:
    it = expansion(template("x", "{{ server.url }}/files"), server={"url": "http://s", "address": "s"})
    assert it.value("x").value == "http://s/files"


def test_texts_inside_of_maps_and_lists_are_rendered_and_keys_are_not() -> None:
    value = {"{{ key }}": ["{{ machine.arch }}", 1], "b": {"c": "{{ 1 + 1 }}"}}
    assert expansion(template("x", value)).value("x").value == {"{{ key }}": ["amd64", 1], "b": {"c": "2"}}


def test_without_expand_nothing_is_rendered() -> None:
    assert expansion(Param(name="x", default="{{ machine.name }}")).value("x").value == "{{ machine.name }}"


def test_a_template_refers_to_another_param_that_is_expanded_first() -> None:
    it = expansion(template("a", '{{ param("b") }}!'), template("b", "{{ params.c }}?"), Param(name="c", default="v"))
    assert it.value("a").value == "v?!"


def test_a_default_stands_for_a_param_without_a_value() -> None:
    assert expansion(template("a", '{{ param("b", "d") }}'), Param(name="b")).value("a").value == "d"


def test_what_a_template_makes_is_no_template_again() -> None:
    it = expansion(template("a", '{{ param("b") }}'), Param(name="b", default="{{ machine.name }}"))
    assert it.value("a").value == "{{ machine.name }}"


def test_composed_layers_are_put_together_before_they_are_rendered() -> None:
    param = Param(name="m", expand=True, compose=True)
    it = expansion(param, Profile(name="global", params={"m": {"a": "{{ 1 }}"}}), params={"m": {"b": "{{ 2 }}"}})
    assert it.value("m").value == {"a": "1", "b": "2"}


# --- fitting the schema ---------------------------------------------------------------------------------------


def test_text_that_fits_the_schema_stays_text() -> None:
    assert expansion(template("x", "{{ 7 }}", schema={"type": "string"})).value("x").value == "7"
    assert expansion(template("x", "{{ 7 }}")).value("x").value == "7"


@pytest.mark.parametrize(
    ("source", "schema", "value"),
    [
        ("{{ 3 + 4 }}", {"type": "integer"}, 7),
        ("{{ true | tojson }}", {"type": "boolean"}, True),
        ('{{ ["a", "b"] | tojson }}', {"type": "array"}, ["a", "b"]),
        ('{"mtu": {{ 9000 }}}', {"type": "object"}, {"mtu": 9000}),
    ],
    ids=["integer", "boolean", "array", "object"],
)
def test_text_that_does_not_fit_is_read_as_json(source: str, schema: dict[str, Any], value: Any) -> None:
    assert expansion(template("x", source, schema=schema)).value("x").value == value


@pytest.mark.parametrize("source", ["{{ 'red' }}", "{{ '[1' }}", "{{ 1.5 }}"])
def test_what_does_not_fit_either_way_is_an_error(source: str) -> None:
    with pytest.raises(CannotExpand, match=r"^param 'x' cannot be expanded: '.*' is not of type 'integer'$"):
        expansion(template("x", source, schema={"type": "integer"})).value("x")


def test_what_does_not_fit_inside_of_a_value_is_named_with_its_path() -> None:
    schema = {"properties": {"dns": {"items": {"enum": ["a"]}}}}
    with pytest.raises(CannotExpand, match=r"dns\[1\]: 'n1' is not one of: a"):
        expansion(template("x", {"dns": ["a", "{{ machine.name }}"]}, schema=schema)).value("x")


# --- what cannot be expanded ----------------------------------------------------------------------------------


def test_params_that_refer_to_each_other_are_named_as_a_chain() -> None:
    it = expansion(
        template("x", '{{ param("a") }}'), template("a", '{{ param("b") }}'), template("b", '{{ param("a") }}')
    )
    with pytest.raises(CannotExpand) as error:
        it.value("x")
    assert reason(error) == "param 'x' cannot be expanded: x > a > b > a: a param cannot refer to itself"
    with pytest.raises(CannotExpand) as error:
        it.value("b")
    assert reason(error) == "param 'b' cannot be expanded: b > a > b: a param cannot refer to itself"


def test_a_param_that_refers_to_itself_is_an_error() -> None:
    with pytest.raises(CannotExpand, match="param 'a' cannot be expanded: a > a: a param cannot refer to itself"):
        expansion(template("a", '{{ param("a") }}')).value("a")


def test_looking_at_all_params_is_looking_at_itself() -> None:
    with pytest.raises(CannotExpand, match="a > a: a param cannot refer to itself"):
        expansion(template("a", "{% for n, v in params.items() %}{{ v }}{% endfor %}")).value("a")


def test_an_undefined_name_is_told_with_the_chain_to_it() -> None:
    it = expansion(template("a", '{{ param("b") }}'), template("b", "{{ machin.name }}"))
    with pytest.raises(CannotExpand) as error:
        it.value("a")
    assert reason(error) == "param 'a' cannot be expanded: a > b: 'machin' is undefined"
    with pytest.raises(CannotExpand) as again:
        it.value("b")
    assert reason(again) == "param 'b' cannot be expanded: 'machin' is undefined"


def test_a_param_without_a_value_is_told_with_the_chain_to_it() -> None:
    with pytest.raises(CannotExpand, match="param 'a' cannot .*: param 'b' has no value for this machine and no def"):
        expansion(template("a", '{{ param("b") }}'), Param(name="b")).value("a")


def test_the_place_inside_of_the_value_is_told() -> None:
    with pytest.raises(CannotExpand, match=r"'gone' is undefined \(in a\.dns\[1\]\)"):
        expansion(template("a", {"dns": ["x", "{{ gone }}"]})).value("a")


def test_a_value_that_cannot_be_opened_is_an_error_of_that_param() -> None:
    with pytest.raises(CannotExpand, match="param 's' cannot be expanded: its key is not there"):
        expansion(Param(name="s", secure=True), params={"s": sealed("lost")}).value("s")


@given(st.dictionaries(st.sampled_from("abcde"), st.sampled_from("abcde"), min_size=1))
def test_any_web_of_references_ends_with_a_value_or_a_chain(refers: dict[str, str]) -> None:
    it = expansion(
        *(template(name, f'{{{{ param("{to}") }}}}') for name, to in refers.items()),
        *(Param(name=name, default="end") for name in "abcde" if name not in refers),
    )
    for name in refers:
        way = [name]
        while way[-1] in refers and way[-1] not in way[:-1]:
            way.append(refers[way[-1]])
        if way[-1] in refers:
            with pytest.raises(CannotExpand) as error:
                it.value(name)
            assert error.value.chain == tuple(way)
        else:
            assert it.value(name).value == "end"


# --- secrets --------------------------------------------------------------------------------------------------

PASSWORD = Param(name="password", secure=True)
HELD = {"password": sealed(SECRET)}
URL = template("url", 'http://u:{{ param("password") }}@h')
OUTER = template("outer", '<{{ param("url") }}>')


def test_a_sealed_value_is_opened_when_it_is_asked_for() -> None:
    assert expansion(PASSWORD, params=HELD).value("password") == (SECRET, True)


def test_a_composed_secure_param_is_opened_layer_by_layer_and_put_together() -> None:
    layers = {"global": sealed("[]"), "machine": sealed("[]")}
    it = expansion(
        Param(name="k", secure=True, compose=True),
        Profile(name="global", params={"k": layers["global"]}),
        params={"k": layers["machine"]},
    )
    assert it.value("k") == ("[]", True)


@pytest.mark.parametrize("name", ["url", "outer"])
def test_what_refers_to_a_secure_param_is_secure_itself(name: str) -> None:
    value = expansion(PASSWORD, URL, OUTER, params=HELD).value(name)
    assert value.secure and SECRET in value.value


def test_what_was_expanded_for_another_before_is_secure_all_the_same() -> None:
    it = expansion(PASSWORD, URL, OUTER, params=HELD)
    it.value("url")
    assert it.value("outer").secure


def test_only_looking_whether_it_has_a_certain_value_makes_it_secure() -> None:
    source = "{{ 'yes' if params.password == 'x' else 'no' }}"
    assert expansion(PASSWORD, template("a", source), params=HELD).value("a") == ("no", True)


@pytest.mark.parametrize("declares", [(), ("password",), ("url",), ("outer",)], ids=str)
def test_a_task_gets_what_it_declares_and_nothing_else_that_a_secret_is_in(declares: tuple[str, ...]) -> None:
    it = expansion(PASSWORD, URL, OUTER, Param(name="open", default=1), params=HELD)
    given = it.for_task(Task(name="t", optional_params=declares))
    assert sorted(given.params) == sorted({"open", *declares}) and given.errors == {}


def test_boot_files_get_nothing_that_a_secret_is_in() -> None:
    given = expansion(PASSWORD, URL, OUTER, Param(name="open", default=1), params=HELD).plain()
    assert given.params == {"open": 1}


def test_boot_files_get_what_templates_make_without_secrets() -> None:
    assert expansion(template("x", "{{ machine.name }}")).plain().params == {"x": "n1"}


def test_why_a_template_with_a_secret_fails_is_hidden() -> None:
    it = expansion(PASSWORD, template("a", '{{ machine[param("password")] }}'), params=HELD)
    with pytest.raises(CannotExpand) as error:
        it.value("a")
    assert SECRET not in reason(error)
    assert reason(error).endswith("why is hidden: a secure value (password) is in it")


def test_why_a_secure_template_fails_is_hidden() -> None:
    it = expansion(Param(name="s", secure=True, expand=True), params={"s": sealed("{{ machine['hush'] }}")})
    with pytest.raises(CannotExpand) as error:
        it.value("s")
    assert "'hush'" not in reason(error)


def test_a_value_with_a_secret_that_does_not_fit_is_not_quoted() -> None:
    it = expansion(PASSWORD, template("a", '{{ param("password") }}', schema={"type": "integer"}), params=HELD)
    with pytest.raises(CannotExpand) as error:
        it.value("a")
    assert SECRET not in reason(error) and "does not fit its schema" in reason(error)


# --- what a whole job is given --------------------------------------------------------------------------------


def test_what_cannot_be_expanded_is_told_and_the_rest_is_given() -> None:
    given = expansion(template("bad", "{{ gone }}"), Param(name="x", default=1)).for_task(Task(name="t"))
    assert given.params == {"x": 1}
    assert given.errors == {"bad": "param 'bad' cannot be expanded: 'gone' is undefined"}


def test_a_name_is_in_it_when_it_has_a_value() -> None:
    it = expansion(Param(name="x", default=None), Param(name="y"))
    assert "x" in it and "y" not in it
