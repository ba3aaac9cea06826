"""Params as a machine's page shows them."""

from provisioner.model.content import Param
from provisioner.params import Why, WhyLayer
from provisioner.services.ui_params import param_rows, text

LAYERS = (
    WhyLayer("machine", "machine", "used", {"a": 1}),
    WhyLayer("stage:write", "pack site", "overridden", 7),
)


def why(**fields):
    plain = {"name": "p", "value": {"a": 1}, "source": "machine", "origin": "machine", "secure": False}
    return Why(**{**plain, "composed": False, "expanded": False, "layers": LAYERS, **fields})


def test_a_row_has_the_value_and_where_it_comes_from():
    declared = {"p": Param(name="p", description="What it is")}
    (row,) = param_rows({"p": why()}, declared, {"p": {"a": 1}})
    assert (row.value, row.source, row.description, row.own) == ("a: 1", "machine", "What it is", True)


def test_all_layers_say_what_becomes_of_them():
    (row,) = param_rows({"p": why()}, {}, {})
    assert [(each.source, each.words, each.value) for each in row.layers] == [
        ("machine", "used", "a: 1"),
        ("stage:write", "not used", "7"),
    ]
    assert (row.own, row.description) == (False, "")


def test_text_is_shown_as_it_is_and_all_else_as_yaml():
    assert text("many\nlines") == "many\nlines"
    assert text(True) == "true"
    assert text([1, "a"]) == "- 1\n- a"
