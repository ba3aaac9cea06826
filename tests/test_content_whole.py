"""Layers put together: who owns a name, what a bad edit does, what stays as it was."""

import pytest

from provisioner.content.stack import Item, Pack
from provisioner.content.whole import ContentSet, Layers, build, build_without_bad_edits
from provisioner.errors import ContentError
from provisioner.model.content import CONTENT_KINDS, Content, Profile, Stage, Task, Template, Workflow


def pack(name: str, *objects: Content, **fields: str) -> Pack:
    return Pack(name, f"{name}/pack.yaml", items=tuple(Item(each, f"{name}/x.yaml") for each in objects), **fields)


def stage(name: str, owner: str = "", **fields: object) -> Stage:
    return Stage(name=name, pack=owner, **fields)  # type: ignore[arg-type]


def errors_of(error: ContentError) -> list[str]:
    return [f"{field.path}: {field.message}" for field in error.fields]


def test_a_content_set_maps_kind_to_name_to_object() -> None:
    content = build([pack("base", stage("b"), stage("a"))])
    assert set(content) == set(CONTENT_KINDS) and len(content) == len(CONTENT_KINDS)
    assert list(content["stages"]) == ["a", "b"]
    assert content.of(Stage)["a"].name == "a"


def test_nothing_makes_an_empty_set() -> None:
    assert not any(build([]).values())


def test_the_packs_in_force_are_told_with_their_counts() -> None:
    (info,) = build([pack("base", stage("a"), stage("b"), version="1.2")]).packs
    assert (info.name, info.version, info.counts["stages"], info.counts["tasks"]) == ("base", "1.2", 2, 0)


def test_packs_and_edits_see_the_layers_below() -> None:
    content = build(
        [pack("base", stage("a", "base")), pack("mine", Workflow(name="w", stages=("a",)))],
        [Workflow(name="edit", stages=("a",))],
    )
    assert set(content["workflows"]) == {"w", "edit"}


def test_a_pack_does_not_see_edits() -> None:
    with pytest.raises(ContentError, match="unknown stage 'edited'"):
        build([pack("base", Workflow(name="w", stages=("edited",)))], [stage("edited")])


def test_one_name_in_two_packs_is_an_error_that_names_both() -> None:
    with pytest.raises(ContentError) as caught:
        build([pack("one", stage("a", "one")), pack("two", stage("a", "two"))])
    assert errors_of(caught.value) == [
        "two/x.yaml: stages/a: name: this name is taken by pack 'one' (one/x.yaml); give yours another name"
    ]


def test_one_name_in_two_kinds_is_no_error() -> None:
    assert build([pack("one", stage("a"), Workflow(name="a"))])


def test_two_packs_of_one_name_are_an_error() -> None:
    with pytest.raises(ContentError, match="there is a pack of this name in one/pack.yaml"):
        build([pack("one"), pack("one")])


def test_an_edit_cannot_take_the_name_of_a_packs_object() -> None:
    with pytest.raises(ContentError) as caught:
        build([pack("one", stage("a", "one"))], [stage("a")])
    assert errors_of(caught.value) == [
        "name: stages/a: this name is taken by pack 'one' (one/x.yaml) and is read-only; give yours another name"
    ]


def test_the_error_tells_the_first_problem_and_how_many_more() -> None:
    with pytest.raises(ContentError) as caught:
        build([pack("p", Workflow(name="w", stages=("a", "b", "c")))])
    assert caught.value.message == "p/x.yaml: workflows/w: stages[0]: unknown stage 'a'; there is none yet (and 2 more)"
    assert len(caught.value.fields) == 3


def test_warnings_stop_nothing_and_are_kept() -> None:
    content = build([pack("p", Template(name="t", contents="{{ machin.name }}"))])
    (warning,) = content.warnings
    assert warning.message.startswith("unknown name 'machin'; there is: boot_params, bootenv, ")


def test_bad_edits_are_left_out_with_those_that_need_them() -> None:
    edits = [stage("bad", tasks=("no:entry",)), Workflow(name="w", stages=("bad",)), stage("good")]
    content, problems = build_without_bad_edits([pack("p")], edits)
    assert isinstance(content, ContentSet)
    assert (list(content["stages"]), list(content["workflows"])) == (["good"], ["w"])
    assert [problem.object for problem in problems] == ["stages/bad"]
    assert list(content.unavailable) == ["workflows/w"]


def test_an_edit_that_names_what_does_not_exist_is_part_of_it_and_not_available() -> None:
    content = build(
        [pack("p")], [stage("early", tasks=("gone",)), Workflow(name="w", stages=("early",)), stage("good")]
    )
    assert content.unavailable == {
        "stages/early": ("tasks[0]: unknown task 'gone'; there is none yet",),
        "workflows/w": ("stages[0]: stage 'early' is not available",),
    }
    assert "early" in content["stages"]


def test_an_edit_is_available_as_soon_as_what_it_names_exists() -> None:
    layers = Layers([pack("p")])
    edits = [stage("s", tasks=("t",)), Template(name="t", contents='{% include "inner" %}')]
    assert list(layers.build(edits).unavailable) == ["stages/s", "templates/t"]
    edits += [Task(name="t"), Template(name="inner", contents="x")]
    assert layers.build(edits).unavailable == {}


def test_an_edit_with_a_value_of_no_declared_param_is_wrong() -> None:
    with pytest.raises(ContentError, match="unknown param 'size'"):
        build([pack("p")], [Profile(name="p", params={"size": 1})])


def test_a_pack_that_names_what_does_not_exist_is_wrong() -> None:
    with pytest.raises(ContentError, match="unknown task 'gone'"):
        build([pack("p", stage("a", "p", tasks=("gone",)))], [])


def test_layers_give_the_same_for_edits_in_turn_as_at_once() -> None:
    layers = Layers([pack("p", Template(name="t", pack="p", contents="{{ machin.name }}"))])
    for contents in ("{{ machine.name }}", "{{ wrong }}", "{{ machine.name }}"):
        edits = [Template(name="mine", contents=contents)]
        assert layers.build(edits).warnings == build(layers.packs, edits).warnings


def test_an_edit_whose_name_a_pack_took_is_left_out_and_the_pack_wins() -> None:
    content, problems = build_without_bad_edits([pack("p", stage("a", "p"))], [stage("a")])
    assert content["stages"]["a"].pack == "p" and len(problems) == 1


def test_bad_packs_are_errors_even_when_bad_edits_are_left_out() -> None:
    with pytest.raises(ContentError):
        build_without_bad_edits([pack("p", stage("a", tasks=("gone",)))], [])


@pytest.mark.parametrize(
    ("version", "wanted", "fits"),
    [
        ("1.2.3", ">=1.2", True),
        ("1.2.3", ">=1.2 <2", True),
        ("1.2.3", ">=1.2, <1.2.3", False),
        ("v1.2", "1.2.0", True),
        ("1.10", ">1.9", True),
        ("1.2", "!=1.2", False),
        ("1.2-rc1", ">=1.2", True),
        ("", ">=0.1", False),
        ("1", "", True),
    ],
)
def test_a_required_pack_must_have_a_version_in_range(version: str, wanted: str, fits: bool) -> None:
    packs = [pack("base", version=version), Pack("mine", "mine/pack.yaml", requires={"base": wanted})]
    if fits:
        assert build(packs)
    else:
        with pytest.raises(ContentError, match="pack 'base' has version"):
            build(packs)


def test_a_required_pack_must_be_there() -> None:
    with pytest.raises(ContentError, match="requires.gone: unknown pack 'gone'; there is: mine"):
        build([Pack("mine", "mine/pack.yaml", requires={"gone": ""})])


def test_a_range_must_be_one() -> None:
    with pytest.raises(ContentError, match="'~1' is no range of versions; write it like '>=1.2 <2'"):
        build([pack("base"), Pack("mine", "mine/pack.yaml", requires={"base": "~1"})])
