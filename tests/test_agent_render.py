"""The template dialect: what it adds, what it forbids, and how its errors tell the place."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import RenderError
from agent.render import CodeCache, Renderer

CONTEXT = {"machine": {"name": "m1", "tags": ["a", "b"]}, "params": {"colour": "red", "nothing": None}}


def render(source: str, **others: str) -> str:
    return Renderer().render("main", {"main": source, **others}, CONTEXT)


def fault(source: str, **others: str) -> RenderError:
    with pytest.raises(RenderError) as caught:
        render(source, **others)
    return caught.value


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ machine.name }}\n", "m1\n"),
        ("{% if true %}\nx\n  {% endif %}\n", "x\n"),
        ("{{ '<b>&' }}", "<b>&"),
        ("{{ param('colour') }}", "red"),
        ("{{ param('size', 3) }}", "3"),
        ("{{ param('nothing') is none }}", "True"),
        ("{{ {'b': '<é>', 'a': 1} | tojson }}", '{"a": 1, "b": "<é>"}'),
        ("{{ [1] | tojson(2) }}", "[\n  1\n]"),
        ("{{ ('{\"a\": 2}' | fromjson).a }}", "2"),
        ('{{ "it\'s" | quote }}', "'it'\"'\"'s'"),
        ("{{ 3 | quote }}", "3"),
        ("{{ 2 ** 10 * 3 }} {{ 2 ** -1 }} {{ 2.5 * 2 }} {{ 'ab' * 2 }} {{ 2 * [1] }}", "3072 0.5 5.0 abab [1, 1]"),
        ("{% for a in range(2) %}{{ range(1, 9, 3) | list }}{% endfor %}", "[1, 4, 7][1, 4, 7]"),
        ("{{ 'é' | b64encode }} {{ 'w6k=' | b64decode }}", "w6k= é"),
        ("{{ 'abc' | sha256 }}", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        ("{% for t in machine.tags %}{% if loop.index > 1 %}{% break %}{% endif %}{{ t }}{% endfor %}", "a"),
    ],
)
def test_the_dialect(source: str, text: str) -> None:
    assert render(source) == text


def test_included_imported_and_extended_templates_see_the_context_and_params() -> None:
    text = render(
        "{% extends 'base' %}{% import 'macros' as macros %}"
        "{% block body %}{{ macros.greet() }} {% include 'part' %}{% endblock %}",
        base="[{% block body %}{% endblock %}]",
        macros="{% macro greet() %}{{ machine.name }} is {{ param('colour') }}{% endmacro %}",
        part="{{ params.colour }}",
    )
    assert text == "[m1 is red red]"


@pytest.mark.parametrize(
    ("source", "others", "template", "line", "message"),
    [
        ("\n{{ nope }}", {}, "main", 2, "'nope' is undefined"),
        ("{{ machine.nope }}", {}, "main", 1, "no attribute 'nope'"),
        ("a\n{% include 'part' %}", {"part": "\n\n{{ nope }}"}, "part", 3, "'nope' is undefined"),
        ("{% import 'm' as m %}\n{{ m.f() }}", {"m": "{% macro f() %}\n{{ nope }}{% endmacro %}"}, "m", 2, "'nope'"),
        (
            "{% extends 'b' %}\n{% block x %}\n{{ nope }}{% endblock %}",
            {"b": "{% block x %}{% endblock %}"},
            "main",
            3,
            "nope",
        ),
        ("\n\n{{ param('size') }}", {}, "main", 3, "param 'size' has no value"),
        ("\n{% if %}", {}, "main", 2, "Expected an expression"),
        ("x\n{% include 'bad' %}", {"bad": "\n\n{% endfor %}"}, "bad", 3, "Encountered unknown tag 'endfor'"),
        ("\n{% include 'gone' %}", {}, "main", 2, "there is no template 'gone'"),
        ("\n{{ 1 / 0 }}", {}, "main", 2, "division by zero"),
        ("\n{% include 'main' %}", {}, "main", 2, "call each other without end"),
        ("{{ {'a': nope} | tojson }}", {}, "main", 1, "'nope' is undefined"),
        ("{{ nope | quote }}", {}, "main", 1, "'nope' is undefined"),
        ("{{ machine.tags | map('upper') | tojson }}", {}, "main", 1, "is not JSON"),
        ("{{ ''.__class__.__mro__ }}", {}, "main", 1, "unsafe"),
        ("{{ machine.tags.append('c') }}", {}, "main", 1, "unsafe"),
        ("{{ range(10000000) | list }}", {}, "main", 1, "ranges of a template give more than 1000000 numbers"),
        (
            "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
            {},
            "main",
            1,
            "ranges of a template give more than 1000000 numbers together",
        ),
        ("{{ 10 ** (10 ** 8) }}", {}, "main", 1, "makes a number of more than 100000 bits"),
        ("{{ 'x' * 10 ** 9 }}", {}, "main", 1, "repeats to more than 10000000 items"),
        ("{{ 10 ** 9 * [1] }}", {}, "main", 1, "repeats to more than 10000000 items"),
    ],
)
def test_an_error_names_template_and_line(
    source: str, others: dict[str, str], template: str, line: int, message: str
) -> None:
    error = fault(source, **others)
    assert (error.template, error.line) == (template, line)
    assert message in error.message


def test_an_error_reads_as_one_sentence() -> None:
    assert str(fault("{{ nope }}")) == "template main line 1: 'nope' is undefined"


def test_a_template_cannot_change_what_it_is_given() -> None:
    fault("{{ machine.tags.append('c') }}")
    assert CONTEXT["machine"]["tags"] == ["a", "b"]  # type: ignore[index]


def test_the_same_name_with_another_source_is_another_template() -> None:
    renderer = Renderer()
    assert renderer.render("x", {"x": "1", "y": "a"}, {}) == "1"
    assert renderer.render("x", {"x": "{% include 'y' %}", "y": "b"}, {}) == "b"
    assert renderer.render("x", {"x": "{% include 'y' %}", "y": "c"}, {}) == "c"


def test_compiled_templates_are_kept_up_to_a_number() -> None:
    codes = CodeCache(2)
    environment = Renderer()._environment
    first = codes.get(environment, "a", "1")
    codes.get(environment, "b", "2")
    assert codes.get(environment, "a", "1") is first
    codes.get(environment, "c", "3")
    assert len(codes) == 2
    assert codes.get(environment, "a", "1") is first


def test_check_tells_a_bad_source_without_rendering() -> None:
    Renderer().check("good", "{{ anything }}")
    with pytest.raises(RenderError, match="template bad line 2"):
        Renderer().check("bad", "\n{% for %}")


ALL = {
    "plain": "x",
    "includes": "{% include 'plain' %}",
    "imports": "{% import 'includes' as i %}{% from 'plain' import x %}",
    "extends": "{% extends 'imports' %}",
    "optional": "{% include 'gone' ignore missing %}",
    "either": "{% include ['gone', 'plain'] %}",
    "neither": "\n{% include ['gone', 'lost'] %}",
    "computed": "{% include machine.name %}",
    "missing": "\n\n{% include 'gone' %}",
    "ring": "{% include 'ring' %}",
    "broken": "{% include 'bad' %}",
    "bad": "{% if %}",
}


@pytest.mark.parametrize(
    ("name", "reached"),
    [
        ("plain", {"plain"}),
        ("includes", {"includes", "plain"}),
        ("extends", {"extends", "imports", "includes", "plain"}),
        ("optional", {"optional"}),
        ("either", {"either", "plain"}),
        ("computed", set(ALL)),
        ("ring", {"ring"}),
    ],
)
def test_reachable_follows_every_reference(name: str, reached: set[str]) -> None:
    assert Renderer().reachable(name, ALL) == {each: ALL[each] for each in reached}


@pytest.mark.parametrize(
    ("name", "place"),
    [("missing", ("missing", 3)), ("neither", ("neither", 2)), ("broken", ("bad", 1)), ("absent", ("absent", 0))],
)
def test_reachable_names_the_place_of_a_wrong_reference(name: str, place: tuple[str, int]) -> None:
    with pytest.raises(RenderError) as caught:
        Renderer().reachable(name, ALL)
    assert (caught.value.template, caught.value.line) == place


@settings(deadline=None)
@given(st.text())
def test_any_source_renders_or_raises_a_render_error(source: str) -> None:
    try:
        assert isinstance(render(source), str)
    except RenderError as error:
        assert error.template == "main"


@settings(deadline=None)
@given(st.text(alphabet=st.characters(exclude_characters="\r", exclude_categories=("Cs",))))
def test_a_value_survives_quoting_for_json(text: str) -> None:
    rendered = Renderer().render("main", {"main": "{{ (x | tojson | fromjson) == x }}"}, {"x": text})
    assert rendered == "True"


def test_a_param_that_cannot_be_used_says_why_though_there_is_a_default():
    context = {"params": {}, "param_errors": {"x": "param 'x' cannot be expanded: x > x"}}
    with pytest.raises(RenderError, match="param 'x' cannot be expanded: x > x"):
        Renderer().render("t", {"t": '{{ param("x", 1) }}'}, context)
    assert Renderer().render("t", {"t": '{{ param("y", 1) }}'}, context) == "1"
