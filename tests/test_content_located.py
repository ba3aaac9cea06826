"""YAML with lines: what is read, what is refused, and where it says it is."""

import pytest

from provisioner.content.located import DEPTH_LIMIT, Problem, decode, read
from provisioner.model.content import Param, Stage, Task


def value_of(text: str) -> object:
    located, problems = read(text, "f.yaml")
    assert located is not None, problems
    return located.value


def problems_of(text: str) -> list[str]:
    located, problems = read(text, "f.yaml")
    assert located is None
    return [str(problem) for problem in problems]


def faults_of(text: str, cls: type = Task) -> list[str]:
    located, problems = read(text, "f.yaml")
    assert located is not None, problems
    decoded, problems = decode(cls, located, "f.yaml", "tasks/x")
    assert decoded is None
    return [str(problem) for problem in problems]


def test_lines_are_those_of_keys_and_items() -> None:
    located, _ = read("a:\n  b:\n    - 1\n    - c: 2\n", "f")
    assert located is not None
    assert located.lines == {"": 1, "a": 1, "a.b": 2, "a.b[0]": 3, "a.b[1]": 4, "a.b[1].c": 4}


def test_the_line_of_an_unknown_part_is_that_of_what_holds_it() -> None:
    located, _ = read("a:\n  b:\n    - 1\n", "f")
    assert located is not None
    assert located.line("a.b[7].x") == 2


def test_the_text_of_a_block_begins_a_line_later() -> None:
    located, _ = read("a: |\n  one\n  two\nb: one\n", "f")
    assert located is not None
    assert (located.texts["a"], located.texts["b"]) == (2, 4)


def test_a_part_has_its_own_lines() -> None:
    located, _ = read("tasks:\n  hello:\n    files:\n      - name: x\ntasks2: 1\n", "f")
    assert located is not None
    assert located.part("tasks").part("hello").lines == {"": 2, "files": 3, "files[0]": 4, "files[0].name": 4}


def test_dates_stay_text() -> None:
    assert value_of("a: 2026-01-02\n") == {"a": "2026-01-02"}


def test_anchors_and_merge_keys_work_and_own_keys_win() -> None:
    text = "base: &b {a: 1, b: 1}\nmore: &m {c: 1}\nx:\n  <<: [*b, *m]\n  b: 2\n"
    assert value_of(text)["x"] == {"a": 1, "b": 2, "c": 1}  # type: ignore[index]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "f.yaml:1: is empty"),
        ("a: 1\n\tb: 2\n", "f.yaml:2: is not YAML: a tab; indent with spaces"),
        ("a: [1\n", "f.yaml:2: is not YAML: did not find expected ',' or ']' (while parsing a flow sequence)"),
        ("a: 1\n b: 2\n", "f.yaml:2: is not YAML: mapping values are not allowed in this context"),
        ("a: 1\nb: 2\na: 3\n", "f.yaml:3: a: is given twice; the first is on line 1"),
        ("a:\n  b: 1\n  b: 1\n", "f.yaml:3: a.b: is given twice; the first is on line 2"),
        ("1: a\n", "f.yaml:1: key '1' is not text; put it in quotes"),
        ("a:\n  yes: b\n", "f.yaml:2: a: key 'yes' is not text; put it in quotes"),
        ("? [a]\n: 1\n", "f.yaml:1: key a map or list is not text; put it in quotes"),
        ("a: .inf\n", "f.yaml:1: a: '.inf' has no meaning here; put it in quotes to make it text"),
        ("a: !!binary aGk=\n", "f.yaml:1: a: 'aGk=' has no meaning here; put it in quotes to make it text"),
        ("a: !thing b\n", "f.yaml:1: a: cannot be read: could not determine a constructor for the tag '!thing'"),
        ("a: !!set {b}\n", "f.yaml:1: a: the tag 'tag:yaml.org,2002:set' has no meaning here"),
        (
            "a: 1\n---\nb: 1\n",
            "f.yaml:2: is not YAML: but found another document",
        ),
        ("a: &a [*a]\n", "f.yaml:1: a[0]: repeats itself without end through its anchors"),
        ("a: *b\n", "f.yaml:1: is not YAML: found undefined alias"),
        ("<<: 3\n", "f.yaml:1: '<<' must point to a map or a list of maps"),
        ("a: \u00e4\nb: \x07\n", "f.yaml:2: is not YAML: control characters are not allowed"),
        ("[" * (DEPTH_LIMIT + 1), f"f.yaml:1: is nested more than {DEPTH_LIMIT} levels deep"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_line(text: str, line: str) -> None:
    (found,) = problems_of(text)
    assert found.startswith(line)


def test_anchors_that_multiply_are_stopped() -> None:
    rows = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    rows += [f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]" for a, b in zip("abcdefg", "bcdefgh", strict=True)]
    (problem,) = problems_of("\n".join(rows))
    assert problem.endswith("repeats itself without end through its anchors")


def test_deep_nesting_does_not_crash_the_process() -> None:
    assert problems_of("[" * 100_000 + "]" * 100_000) == [f"f.yaml:1: is nested more than {DEPTH_LIMIT} levels deep"]


def test_every_problem_is_told_at_once() -> None:
    assert len(problems_of("a: 1\na: 2\n1: 3\nb: .nan\n")) == 3


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("name: x\nfile: []\n", "2: file: unknown field; there is: "),
        ("name: x\nfiles:\n  - name: a\n    pth: b\n", "4: files[0].pth: unknown field; there is: contents, "),
        ("name: x\nfiles:\n  - path: b\n", "3: files[0]: lacks the field 'name'"),
        ("name: x\nfiles: a\n", "2: files: must be a list, is text 'a'"),
        ("name: x\nfiles: [a]\n", "2: files[0]: must be a map, is text 'a'"),
        ("name: x\nidempotent: 1\n", "2: idempotent: must be true or false, is a whole number 1"),
        ("name: x\ntimeout_seconds: soon\n", "2: timeout_seconds: must be a number, is text 'soon'"),
        ("name: x\nretry:\n  max: 1.5\n", "3: retry.max: must be a whole number, is a number 1.5"),
        ("name: x\ndescription: 3\n", "2: description: must be text, is a whole number 3; put it in quotes"),
        ("name: x\ndescription: no\n", "2: description: must be text, is false; put it in quotes"),
        ("name: x\ndescription:\n", "2: description: must be text, is nothing"),
        ("name: x\nmeta: {a: 1}\n", "2: meta.a: must be text, is a whole number 1; put it in quotes"),
        ("name: x\nmeta: []\n", "2: meta: must be a map, is a list"),
        ("- x\n", "1: must be a map, is a list"),
    ],
)
def test_what_does_not_fit_is_told_with_line_and_field(text: str, line: str) -> None:
    (found,) = faults_of(text)
    assert found.replace("f.yaml:", "").replace("tasks/x: ", "").startswith(line)


def test_every_fault_of_an_object_is_told() -> None:
    assert len(faults_of("name: x\nbootenv: 1\ntasks: a\nreboot: maybe\n", Stage)) == 3


def test_a_whole_number_is_a_number() -> None:
    located, _ = read("name: x\ntimeout_seconds: 5\n", "f")
    assert located is not None
    task, problems = decode(Task, located, "f", "tasks/x")
    assert task is not None and task.timeout_seconds == 5 and not problems


def test_any_value_may_be_a_default() -> None:
    located, _ = read("name: x\ndefault: [1, {a: null}]\n", "f")
    assert located is not None
    param, _ = decode(Param, located, "f", "params/x")
    assert param is not None and param.default == [1, {"a": None}]


def test_a_warning_says_so() -> None:
    assert str(Problem("f", 3, "tasks/x", "", "is odd", warning=True)) == "f:3: tasks/x: warning: is odd"
