"""What refers to what."""

from provisioner.content.references import Reference, inline_sources, references, users_of
from provisioner.model.content import (
    BootArch,
    Bootenv,
    BootFile,
    Param,
    Profile,
    Stage,
    Task,
    TaskFile,
    Template,
    Workflow,
)


def test_a_task_refers_to_templates_and_params() -> None:
    task = Task(
        name="t",
        files=(TaskFile(name="a", template="x/a"), TaskFile(name="b", contents="hi")),
        required_params=("r",),
        optional_params=("o",),
    )
    assert list(references(task)) == [
        Reference("files[0].template", "templates", "x/a"),
        Reference("required_params[0]", "params", "r"),
        Reference("optional_params[0]", "params", "o"),
    ]


def test_a_stage_refers_to_what_its_entries_name() -> None:
    stage = Stage(name="s", bootenv="b", tasks=("t", "stage:x", "bootenv:y", "action:z"), profiles=("p",))
    assert list(references(stage)) == [
        Reference("bootenv", "bootenvs", "b"),
        Reference("tasks[0]", "tasks", "t"),
        Reference("tasks[1]", "stages", "x"),
        Reference("tasks[2]", "bootenvs", "y"),
        Reference("profiles[0]", "profiles", "p"),
    ]


def test_values_refer_to_their_params() -> None:
    values = {"power/port": 1}
    expected = [Reference("params.power/port", "params", "power/port")]
    assert list(references(Profile(name="p", params=values))) == expected
    assert list(references(Stage(name="s", params=values))) == expected


def test_workflows_and_bootenvs_refer_to_stages_and_templates() -> None:
    assert list(references(Workflow(name="w", stages=("s",)))) == [Reference("stages[0]", "stages", "s")]
    bootenv = Bootenv(name="b", files=(BootFile(path="x", template="t"),))
    assert list(references(bootenv)) == [Reference("files[0].template", "templates", "t")]


def test_params_and_templates_refer_to_nothing_by_fields() -> None:
    assert not list(references(Param(name="p"))) and not list(references(Template(name="t")))


def test_every_source_written_inside_an_object_is_found() -> None:
    bootenv = Bootenv(name="b", arch={"amd64": BootArch("k", boot_params="p")}, files=(BootFile("f", contents="c"),))
    assert dict(inline_sources(bootenv)) == {
        "files[0].path": "f",
        "files[0].contents": "c",
        "arch.amd64.boot_params": "p",
    }


def test_users_are_those_that_name_the_object() -> None:
    content = {
        "stages": {"s": Stage(name="s", tasks=("t",)), "other": Stage(name="other")},
        "workflows": {"w": Workflow(name="w", stages=("s",))},
        "templates": {},
    }
    assert users_of("tasks", "t", content) == ["stages/s"]
    assert users_of("stages", "s", content) == ["workflows/w"]
    assert users_of("workflows", "w", content) == []


def test_templates_that_include_it_are_users_of_a_template() -> None:
    content = {"templates": {"a": Template(name="a", contents="{% include 'b' %}"), "b": Template(name="b")}}
    assert users_of("templates", "b", content) == ["templates/a"]
