"""Packs from folders and bundles: good ones whole, bad ones with file, line, object and field."""

import os
from pathlib import Path
from textwrap import dedent

import pytest

from provisioner.content.stack import Pack
from provisioner.content.whole import build
from provisioner.errors import ContentError, Invalid
from provisioner.model.content import Content
from provisioner.packs import bundle, check, load, load_shipped, parse_bundle, unbundle

GOOD = {
    "pack.yaml": 'name: mine\nversion: "1.0"\ndescription: Of mine\nrequires: {base: ">=0.1"}\n',
    "params/mine/colour.yaml": "schema: {enum: [red, blue]}\ndefault: red\n",
    "profiles/blue.yaml": "params: {mine/colour: blue}\n",
    "templates/mine/paint.j2": "#!/bin/sh\necho {{ param('mine/colour') }}\n{% include 'mine/end' %}\n",
    "templates/mine/end.j2": "exit 0\n",
    "tasks/paint.yaml": "files:\n  - name: paint\n    template: mine/paint\noptional_params: [mine/colour]\n",
    "stages/paint.yaml": "tasks: [paint, inventory]\nbootenv: discovery\n",
    "workflows/paint.yaml": "stages: [paint, hello]\n",
    "bootenvs/rescue.yaml": "arch:\n  amd64:\n    kernel: rescue/vmlinuz\n",
    "README.md": "About it\n",
    ".git/config": "not read\n",
    "tasks/paint.yaml~": "not read either\n",
}


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def objects_of(pack: Pack) -> dict[str, Content]:
    return {item.name: item.object for item in pack.items}


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return write(tmp_path / "mine", GOOD)


def test_the_shipped_content_has_no_problems_and_no_warnings() -> None:
    assert check([]) == []


def test_a_shipped_pack_may_be_checked_by_its_path() -> None:
    assert check([Path("content/base")]) == []


def test_a_good_folder_is_loaded_whole(good: Path) -> None:
    content = build([*load_shipped(), load(good)])
    assert content["params"]["mine/colour"].default == "red"
    assert content["templates"]["mine/end"].contents == "exit 0\n"
    assert content["bootenvs"]["rescue"].arch["amd64"].kernel == "rescue/vmlinuz"
    assert {value.pack for objects in content.values() for value in objects.values()} == {"base", "mine"}


def test_shipped_templates_and_bootenvs_belong_to_the_base_pack_and_the_ui_is_no_content() -> None:
    content = build(load_shipped())
    assert content["templates"]["boot/ipxe"].pack == "base" == content["bootenvs"]["discovery"].pack
    assert not [name for name in content["templates"] if name.startswith("ui/")]


def test_a_folder_and_its_bundle_are_the_same(good: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(bundle(load(good)), encoding="utf-8")
    assert objects_of(load(file)) == objects_of(load(good))
    assert (load(file).name, load(file).version, load(file).requires) == ("mine", "1.0", {"base": ">=0.1"})


def test_a_bundle_and_its_folder_are_the_same(good: Path, tmp_path: Path) -> None:
    unbundle(load(good), tmp_path / "again")
    assert objects_of(load(tmp_path / "again")) == objects_of(load(good))


def test_a_bundle_is_not_unpacked_over_other_files(good: Path) -> None:
    with pytest.raises(Invalid, match="is not empty"):
        unbundle(load(good), good)


def test_a_bad_pack_is_not_bundled(tmp_path: Path) -> None:
    with pytest.raises(ContentError, match="unknown field"):
        bundle(load(write(tmp_path, {"pack.yaml": "name: x\n", "stages/a.yaml": "task: [b]\n"})))


def test_a_file_may_repeat_its_own_name(tmp_path: Path) -> None:
    files = {"pack.yaml": "name: x\n", "params/a/b.yaml": "name: a/b\nschema: {}\n"}
    assert not load(write(tmp_path, files)).problems


def test_a_byte_order_mark_and_crlf_do_not_matter(tmp_path: Path) -> None:
    write(tmp_path, {"pack.yaml": "\ufeffname: x\r\n", "stages/a.yaml": "tasks:\r\n  - 'action:x'\r\n"})
    pack = load(tmp_path)
    assert (pack.name, len(pack.items), pack.problems) == ("x", 1, ())


BAD = [
    # YAML that is none
    ({"tasks/a.yaml": "files:\n\t- x\n"}, "tasks/a.yaml:2: tasks/a: is not YAML: a tab; indent with spaces"),
    ({"tasks/a.yaml": ""}, "tasks/a.yaml:1: tasks/a: is empty"),
    (
        {"stages/a.yaml": "tasks: []\ntasks: []\n"},
        "stages/a.yaml:2: stages/a: tasks: is given twice; the first is on line 1",
    ),
    # fields
    (
        {"stages/a.yaml": "description: x\ntask: [b]\n"},
        "stages/a.yaml:2: stages/a: task: unknown field; there is: bootenv, description, documentation, meta, name,"
        " params, profiles, reboot, required_params, tasks",
    ),
    ({"stages/a.yaml": "tasks: b\n"}, "stages/a.yaml:1: stages/a: tasks: must be a list, is text 'b'"),
    (
        {"tasks/a.yaml": "files:\n  - name: x\n    contents: 'true'\n    mode: 0755\n"},
        "tasks/a.yaml:4: tasks/a: files[0].mode: must be text, is a whole number 493; put it in quotes",
    ),
    (
        {"stages/a.yaml": "pack: base\n"},
        "stages/a.yaml:1: stages/a: pack: unknown field; which pack it belongs to is said by where it lies",
    ),
    (
        {"stages/a.yaml": "name: b\n"},
        "stages/a.yaml:1: stages/a: name: is 'b', but its place says 'a'; leave it out or make them equal",
    ),
    # references
    (
        {"workflows/a.yaml": "stages:\n  - hello\n  - deploi\n"},
        "workflows/a.yaml:3: workflows/a: stages[1]: unknown stage 'deploi'; there is: complete, deploy-boot,"
        " deploy-image, deploy-prepare, discover, hello",
    ),
    (
        {"stages/a.yaml": "bootenv: lokal\n"},
        "stages/a.yaml:1: stages/a: bootenv: unknown bootenv 'lokal'; there is: discovery, local",
    ),
    ({"stages/a.yaml": "tasks: [helo]\n"}, "stages/a.yaml:1: stages/a: tasks[0]: unknown task 'helo'; there is: "),
    (
        {"stages/a.yaml": "profiles: [x]\n"},
        "stages/a.yaml:1: stages/a: profiles[0]: unknown profile 'x'; there is: deploy-by-map",
    ),
    (
        {"tasks/a.yaml": "files:\n  - name: x\n    template: no/such\n"},
        "tasks/a.yaml:3: tasks/a: files[0].template: unknown template 'no/such'; there is: ",
    ),
    (
        {"tasks/a.yaml": "required_params: [no/such]\n"},
        "tasks/a.yaml:1: tasks/a: required_params[0]: unknown param 'no/such'; there is: ",
    ),
    (
        {"profiles/a.yaml": "params:\n  powr/port: 1\n"},
        "profiles/a.yaml:2: profiles/a: params.powr/port: unknown param 'powr/port'; there is: ",
    ),
    # params
    (
        {"params/a.yaml": "schema: {type: integer}\ndefault: x\n"},
        "params/a.yaml:2: params/a: default: 'x' is not of type 'integer'",
    ),
    (
        {"params/a.yaml": "schema:\n  type: int\n"},
        "params/a.yaml:2: params/a: schema.type: 'int' is not one of: array, boolean, integer, null, number, object,"
        " string; or 'int' is not of type 'array'",
    ),
    (
        {"profiles/a.yaml": "params:\n  power/port: 70000\n"},
        "profiles/a.yaml:2: profiles/a: params.power/port: 70000 is greater than the maximum of 65535",
    ),
    (
        {"profiles/a.yaml": "params:\n  change-stage/map:\n    deploy: x:Rebot\n"},
        "profiles/a.yaml:3: profiles/a: params.change-stage/map.deploy: 'x:Rebot' does not match ",
    ),
    (
        {"profiles/a.yaml": "profiles: [a]\n"},
        "profiles/a.yaml:1: profiles/a: profiles[0]: the profile includes itself: a > a",
    ),
    # templates
    (
        {"templates/x/a.j2": "one\n{% if %}\n"},
        "templates/x/a.j2:2: templates/x/a: is not a template: Expected an expression",
    ),
    (
        {"templates/x/a.j2": "one\n{% include 'x/b' %}\n"},
        "templates/x/a.j2:2: templates/x/a: unknown template 'x/b'; there is: ",
    ),
    (
        {"tasks/a.yaml": "files:\n  - name: x\n    contents: |\n      one\n      {{ machine.name }\n"},
        "tasks/a.yaml:5: tasks/a: files[0].contents: is not a template: unexpected '}'",
    ),
    (
        {"tasks/a.yaml": "files:\n  - name: x\n    contents: |\n      one\n      {{ machin.name }}\n"},
        "tasks/a.yaml:5: tasks/a: files[0].contents: warning: unknown name 'machin'; there is: bootenv, job, ",
    ),
    # names and places
    (
        {"stages/hello.yaml": "tasks: []\n"},
        "stages/hello.yaml:1: stages/hello: name: this name is taken by pack 'base' (",
    ),
    ({"stages/a b.yaml": "tasks: []\n"}, "stages/a b.yaml:1: stages/a b: name: 'a b' is not a name: "),
    ({"stages/a.yml": "tasks: []\n"}, "stages/a.yml: is not read; name it .yaml"),
    (
        {"stage/a.yaml": "tasks: []\n"},
        "stage: unknown folder; there is: bootenvs, params, profiles, stages, tasks, templates, workflows",
    ),
    ({"a.yaml": "tasks: []\n"}, "a.yaml: only pack.yaml is read here; objects lie in folders named by kind"),
    ({"templates/x/a.sh": "true\n"}, "templates/x/a.sh: is not read; a template's name ends in .j2"),
    # pack.yaml
    (
        {"pack.yaml": "nam: x\n"},
        "pack.yaml:1: nam: unknown field; there is: description, documentation, name, requires, version",
    ),
    (
        {"pack.yaml": "name: mine\nversion: 1.0\n"},
        "pack.yaml:2: version: must be text, is a number 1.0; put it in quotes",
    ),
    ({"pack.yaml": "name: base\n"}, "pack.yaml:1: pack base: name: there is a pack of this name in "),
    (
        {"pack.yaml": "name: mine\nrequires:\n  base: '>9'\n"},
        "pack.yaml:2: pack mine: requires.base: pack 'base' has version 0.1.0, needed is '>9'",
    ),
]


@pytest.mark.parametrize(("files", "line"), BAD, ids=[line for _, line in BAD])
def test_a_bad_pack_is_told_by_file_line_object_and_field(files: dict[str, str], line: str, tmp_path: Path) -> None:
    folder = write(tmp_path, {"pack.yaml": "name: mine\n", **files})
    found = [str(problem).replace(f"{folder}{os.sep}", "") for problem in check([folder])]
    assert found and found[0].startswith(line)


def test_a_pack_without_pack_yaml_says_so(tmp_path: Path) -> None:
    (problem, *_) = check([write(tmp_path / "mine", {"stages/a.yaml": "tasks: []\n"})])
    assert str(problem) == f"{tmp_path}/mine/pack.yaml: there is no such file"


def test_a_path_that_does_not_exist_says_so(tmp_path: Path) -> None:
    assert [str(problem) for problem in check([tmp_path / "gone"])] == [f"{tmp_path}/gone: there is no such file"]


def test_text_that_is_not_utf_8_is_told_with_its_line(tmp_path: Path) -> None:
    write(tmp_path, {"pack.yaml": "name: mine\n"})
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages" / "a.yaml").write_bytes(b"tasks: []\ndescription: \xff\n")
    assert str(check([tmp_path])[0]) == f"{tmp_path}/stages/a.yaml:2: stages/a: is not UTF-8 text"


def test_all_problems_of_all_packs_are_told_in_order(tmp_path: Path) -> None:
    one = write(tmp_path / "one", {"pack.yaml": "name: one\n", "stages/a.yaml": "tasks:\n  - gone\n  - lost\n"})
    two = write(tmp_path / "two", {"pack.yaml": "name: two\n", "stages/b.yaml": "tasks: 1\n"})
    found = check([one, two])
    assert [(problem.object, problem.line) for problem in found] == [("stages/a", 2), ("stages/a", 3), ("stages/b", 1)]


def test_one_pack_named_twice_is_loaded_once(good: Path) -> None:
    assert check([good, good]) == []


def test_the_lines_of_a_bundle_are_those_of_its_file() -> None:
    text = dedent("""\
        name: mine
        stages:
          a:
            tasks:
              - gone
          b: {tasks: 3}
        templates:
          x/t: |
            one
            {% if %}
        """)
    with pytest.raises(ContentError) as caught:
        build([parse_bundle(text, "mine.yaml")])
    assert [(error.path, error.message) for error in caught.value.fields] == [
        ("mine.yaml:5", "stages/a: tasks[0]: unknown task 'gone'; there is none yet"),
        ("mine.yaml:6", "stages/b: tasks: must be a list, is a whole number 3"),
        ("mine.yaml:10", "templates/x/t: is not a template: Expected an expression, got 'end of statement block'"),
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("- a\n", "m.yaml:1: must be a map with the pack's name, version and objects"),
        ("version: '1'\n", "m.yaml:1: lacks the field 'name'"),
        ("name: m\nstage: {}\n", "m.yaml:2: stage: unknown field; there is: "),
        ("name: m\nstages: []\n", "m.yaml:2: stages: must be a map of names to objects"),
        ("name: m\nstages: {a: 3}\n", "m.yaml:2: stages/a: must be a map, is a whole number 3"),
        ("name: m\ntemplates: {a: {}}\n", "m.yaml:2: templates/a: must be text: the template's source"),
        ("name: [\n", "m.yaml:2: is not YAML: "),
    ],
)
def test_a_bad_bundle_is_told_by_file_and_line(text: str, line: str) -> None:
    assert str(parse_bundle(text, "m.yaml").problems[0]).startswith(line)
