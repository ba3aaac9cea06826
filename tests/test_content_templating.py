"""What is read of a template without rendering it."""

from provisioner.content.templating import Reading, TemplateReader, Use


def reading(source: str) -> Reading:
    return TemplateReader().read("t", source)


def test_a_syntax_error_is_told_with_its_line() -> None:
    fault = reading("one\n{% if x %}\n").fault
    assert fault is not None and fault.line == 2 and "end of template" in fault.name.lower()


def test_an_unknown_filter_is_a_fault() -> None:
    fault = reading("one\n{{ x | nonsense }}\n").fault
    assert fault == Use("No filter named 'nonsense'.", 2)


def test_every_way_to_name_another_template_is_found() -> None:
    source = "{% extends 'a' %}\n{% include 'b' %}\n{% import 'c' as c %}\n{% from 'd' import e %}\n"
    assert {(use.name, use.line, use.needed) for use in reading(source).templates} == {
        ("a", 1, True),
        ("b", 2, True),
        ("c", 3, True),
        ("d", 4, True),
    }


def test_templates_that_may_be_missing_are_not_needed() -> None:
    source = "{% include 'a' ignore missing %}{% include ['b', 'c'] %}{% include machine.name %}"
    assert [(use.name, use.needed) for use in reading(source).templates] == [("a", False), ("b", False), ("c", False)]


def test_names_from_outside_are_found_where_they_are_used_first() -> None:
    source = (
        "{% set own = 1 %}\n{{ own }}\n{{ machine.name }}{{ machine.id }}\n{% for x in list_of %}{{ x }}{% endfor %}"
    )
    assert reading(source).names == (Use("list_of", 4), Use("machine", 3))


def test_a_name_that_is_asked_for_is_not_needed() -> None:
    assert reading("{% if odd is defined %}{{ odd }}{% endif %}").names == (Use("odd", 1, False),)


def test_params_are_found_in_both_spellings() -> None:
    source = "{{ param('a') }}\n{{ param('b', 1) }}\n{{ params['c'] }}\n{{ params.d }}{{ param(x) }}"
    assert reading(source).params == (Use("a", 1), Use("b", 2, False), Use("c", 3))
