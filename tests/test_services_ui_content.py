"""Content objects as YAML, and what refers to what."""

from datetime import UTC, datetime

import yaml

from provisioner.model.content import CONTENT_KINDS, Param, Profile, Stage, Task, TaskFile, Template, Workflow
from provisioner.model.machines import Machine
from provisioner.services.ui_content import (
    as_yaml,
    choices,
    links_from,
    links_to,
    machines_with,
    marked,
    plain,
    source_of,
)

TASK = Task(
    name="image",
    description="Write it",
    documentation="One.\nTwo: three.\n",
    files=(TaskFile(name="run", template="tasks/run"),),
    required_params=("disk",),
    timeout_seconds=60.0,
    destructive=True,
    pack="base",
)


def content(*objects):
    view = {kind: {} for kind in CONTENT_KINDS}
    for value in objects:
        view[value.kind][value.name] = value
    return view


VIEW = content(
    TASK,
    Param(name="disk"),
    Param(name="password", secure=True, default="hunter2"),
    Profile(name="site", params={"password": "s3cret", "disk": "sda"}),
    Template(name="tasks/run", contents="#!/bin/sh\n"),
    Stage(name="write", tasks=("image",), params={"password": "other"}),
    Stage(name="look"),
    Workflow(name="deploy", description="All of it", stages=("look", "write", "gone")),
    Workflow(name="discover", stages=("look",)),
)


def test_an_object_is_shown_as_its_author_would_write_it():
    assert plain(TASK, VIEW) == {
        "name": "image",
        "description": "Write it",
        "documentation": "One.\nTwo: three.\n",
        "files": [{"name": "run", "template": "tasks/run"}],
        "required_params": ["disk"],
        "timeout_seconds": 60,
        "destructive": True,
    } | {"files": plain(TASK, VIEW)["files"], "required_params": ("disk",)}


def test_secure_values_are_hidden_wherever_they_stand():
    shown = "".join(
        as_yaml(plain(VIEW[kind][name], VIEW))
        for kind, name in (("params", "password"), ("profiles", "site"), ("stages", "write"))
    )
    assert "********" in shown
    assert "sda" in shown
    assert not any(secret in shown for secret in ("hunter2", "s3cret", "other"))


def test_the_yaml_reads_back_as_the_same():
    text = as_yaml(plain(TASK, VIEW))
    assert yaml.safe_load(text)["documentation"] == TASK.documentation
    assert "documentation: |\n  One.\n  Two: three.\n" in text
    assert "files:\n  - name: run\n" in text


def test_marking_loses_no_character():
    text = as_yaml(plain(TASK, VIEW)) + "a: 'x: y'\nlist:\n  - 1\n  - b: true\n  - 'q'\n"
    assert "\n".join("".join(part.text for part in line) for line in marked(text)) == text.removesuffix("\n")


def test_keys_are_marked_but_not_inside_blocks_of_text():
    looks = [[(part.look, part.text) for part in line if part.text] for line in marked("a: |\n  b: c\nd: 5\n")]
    assert looks == [
        [("key", "a"), ("mark", ":"), ("number", " |")],
        [("text", "  b: c")],
        [("key", "d"), ("mark", ":"), ("number", " 5")],
    ]


def test_an_object_links_to_what_it_names_and_what_names_it():
    known = dict.fromkeys(("templates", "params"), {"tasks/run": None, "disk": None})
    assert [link.url for link in links_from(TASK, known)] == ["/content/templates/tasks/run", "/content/params/disk"]


def test_what_does_not_exist_is_no_link():
    missing = links_from(TASK, {"templates": {}, "params": {"disk": None}})
    assert [(link.name, link.url) for link in missing] == [("tasks/run", ""), ("disk", "/content/params/disk")]
    assert [(link.kind, link.name) for link in links_to("tasks", "image", VIEW)] == [("stages", "write")]


def test_machines_that_use_an_object_are_found():
    now = datetime(2026, 3, 1, tzinfo=UTC)
    machine = Machine(
        id="m", name="n1", created_at=now, updated_at=now, workflow="deploy", tasks=("stage:write", "image")
    )
    for kind, name in (("workflows", "deploy"), ("stages", "write"), ("tasks", "image")):
        assert [link.url for link in machines_with(kind, name, [machine])] == ["/machines/n1"]
    assert machines_with("workflows", "discover", [machine]) == ()
    assert machines_with("templates", "tasks/run", [machine]) == ()


def test_only_templates_have_a_source():
    assert source_of(VIEW["templates"]["tasks/run"]) == "#!/bin/sh\n"
    assert source_of(TASK) == ""


def test_a_workflow_to_choose_says_what_it_would_destroy():
    deploy, discover = choices(VIEW)
    assert (deploy.name, deploy.destructive) == ("deploy", ("image",))
    assert discover.destructive == ()
