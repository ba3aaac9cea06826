"""Patches: the examples of RFC 7396 and RFC 6902, and what no document may suffer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.errors import Conflict, Invalid
from provisioner.patches import apply, merge

# RFC 7396, appendix A.
MERGES = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]
# RFC 6902, appendix A, and pointers of RFC 6901.
PATCHES = [
    ({"foo": "bar"}, [{"op": "add", "path": "/baz", "value": "qux"}], {"baz": "qux", "foo": "bar"}),
    ({"foo": ["bar", "baz"]}, [{"op": "add", "path": "/foo/1", "value": "qux"}], {"foo": ["bar", "qux", "baz"]}),
    ({"foo": ["bar"]}, [{"op": "add", "path": "/foo/-", "value": ["abc"]}], {"foo": ["bar", ["abc"]]}),
    ({"foo": ["bar"]}, [{"op": "add", "path": "/foo/1", "value": 1}], {"foo": ["bar", 1]}),
    ({"baz": "qux", "foo": "bar"}, [{"op": "remove", "path": "/baz"}], {"foo": "bar"}),
    ({"foo": ["bar", "qux", "baz"]}, [{"op": "remove", "path": "/foo/1"}], {"foo": ["bar", "baz"]}),
    ({"baz": "qux"}, [{"op": "replace", "path": "/baz", "value": "boo"}], {"baz": "boo"}),
    ({"a": {"b": 1}, "c": {}}, [{"op": "move", "from": "/a/b", "path": "/c/d"}], {"a": {}, "c": {"d": 1}}),
    ({"f": ["all", "grass", "cows", "eat"]}, [{"op": "move", "from": "/f/1", "path": "/f/3"}],
     {"f": ["all", "cows", "eat", "grass"]}),
    ({"a": 1}, [{"op": "copy", "from": "/a", "path": "/b"}], {"a": 1, "b": 1}),
    ({"foo": "bar"}, [{"op": "add", "path": "/child", "value": {"g": {}}}], {"foo": "bar", "child": {"g": {}}}),
    ({"foo": "bar"}, [{"op": "add", "path": "/baz", "value": "qux", "xyz": 123}], {"foo": "bar", "baz": "qux"}),
    ({"/": 9, "~1": 10}, [{"op": "test", "path": "/~01", "value": 10}], {"/": 9, "~1": 10}),
    ({"/": 9}, [{"op": "replace", "path": "/~1", "value": 8}], {"/": 8}),
    ({"": 1}, [{"op": "test", "path": "/", "value": 1}], {"": 1}),
    ({"a": 1}, [{"op": "add", "path": "", "value": [1]}], [1]),
    ({"a": None}, [{"op": "test", "path": "/a", "value": None}], {"a": None}),
    ({"a": 1}, [{"op": "test", "path": "/a", "value": 1.0}], {"a": 1}),
    ({"a": 1}, [{"op": "move", "from": "/a", "path": "/a"}], {"a": 1}),
    ({"a": 1}, [], {"a": 1}),
]  # fmt: skip
WRONG = [
    ("x", "body"),
    ([1], "[0]"),
    ([{}], "[0].op"),
    ([{"op": "dance", "path": ""}], "[0].op"),
    ([{"op": "add", "path": "/b"}], "[0].value"),
    ([{"op": "add", "path": "b", "value": 1}], "[0].path"),
    ([{"op": "add", "path": "/~2", "value": 1}], "[0].path"),
    ([{"op": "add", "path": "/x/y", "value": 1}], "[0].path"),
    ([{"op": "add", "path": "/list/3", "value": 1}], "[0].path"),
    ([{"op": "add", "path": "/list/01", "value": 1}], "[0].path"),
    ([{"op": "add", "path": "/a/b", "value": 1}], "[0].path"),
    ([{"op": "remove", "path": "/x"}], "[0].path"),
    ([{"op": "remove", "path": ""}], "[0].path"),
    ([{"op": "remove", "path": "/list/-"}], "[0].path"),
    ([{"op": "remove", "path": "/list/" + "9" * 5000}], "[0].path"),
    ([{"op": "replace", "path": "/x", "value": 1}], "[0].path"),
    ([{"op": "copy", "path": "/x"}], "[0].from"),
    ([{"op": "copy", "from": "/x", "path": "/y"}], "[0].from"),
    ([{"op": "move", "from": "/map", "path": "/map/in"}], "[0].path"),
    ([{"op": "test", "path": "/a", "value": 1}, {"op": "remove", "path": "/x"}], "[1].path"),
]
DOCUMENT = {"a": 1, "list": ["x", "y"], "map": {"k": "v"}}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


@pytest.mark.parametrize(("document", "patch", "after"), MERGES, ids=str)
def test_a_merge_patch_does_what_its_rfc_says(document, patch, after):
    assert merge(document, patch) == after


@pytest.mark.parametrize(("document", "patch", "after"), PATCHES, ids=str)
def test_a_json_patch_does_what_its_rfc_says(document, patch, after):
    assert apply(document, patch) == after


@pytest.mark.parametrize(("patch", "path"), WRONG, ids=lambda value: str(value)[:60])
def test_what_cannot_be_done_is_named_by_its_place(patch, path):
    with pytest.raises(Invalid) as caught:
        apply(DOCUMENT, patch)
    assert [field.path for field in caught.value.fields] == [path]
    assert DOCUMENT == {"a": 1, "list": ["x", "y"], "map": {"k": "v"}}


@pytest.mark.parametrize("value", [2, True, "1", [1], None])
def test_a_test_that_does_not_hold_is_a_conflict(value):
    with pytest.raises(Conflict, match="has another value") as caught:
        apply({"a": 1}, [{"op": "test", "path": "/a", "value": value}])
    assert caught.value.code == "patch-test-failed"


def test_a_document_copied_into_itself_does_not_fill_the_memory():
    bomb = [{"op": "copy", "from": "/a", "path": f"/a/{name}"} for name in range(60)]
    with pytest.raises(Invalid, match="copies more than"):
        apply({"a": {"b": "x" * 100}}, bomb)


def test_a_document_that_grows_ever_deeper_is_refused():
    digger = [{"op": "add", "path": "/a" * depth, "value": {}} for depth in range(1, 999)]
    with pytest.raises(Invalid, match="levels down"):
        apply({}, digger)
    with pytest.raises(Invalid, match="nested more than"):
        apply({"a": {}}, [{"op": "copy", "from": "/a", "path": "/a/a"}] * 300)


def test_a_patch_without_end_is_refused():
    with pytest.raises(Invalid, match="at most 1000"):
        apply({}, [{"op": "test", "path": "", "value": {}}] * 1001)


@given(VALUES, VALUES)
def test_merging_twice_is_merging_once(document, patch):
    once = merge(document, patch)
    assert merge(once, patch) == once


@given(st.dictionaries(st.text(max_size=3), VALUES, max_size=4), st.text(max_size=3), VALUES)
def test_what_was_added_is_found_and_can_be_removed(document, name, value):
    path = "/" + name.replace("~", "~0").replace("/", "~1")
    added = apply(document, [{"op": "add", "path": path, "value": value}, {"op": "test", "path": path, "value": value}])
    assert added == {**document, name: value}
    assert apply(added, [{"op": "remove", "path": path}]) == {k: v for k, v in document.items() if k != name}
