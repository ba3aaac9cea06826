"""The files of a task, rendered and written."""

import stat
from pathlib import Path

import pytest

from agent.errors import RenderError, TaskError
from agent.job_protocol import TaskFile, WorkOrder, read_work_order
from agent.render import Renderer
from agent.steps import mode_of, render_steps, script_name, write_file


def order(*files: dict[str, str], **more: object) -> WorkOrder:
    return read_work_order({"job": {"id": "j"}, "task": {"name": "t"}, "files": list(files), **more})


def test_all_files_are_rendered_with_their_paths_and_the_last_script_is_known() -> None:
    steps = render_steps(
        order(
            {"name": "a", "source": "{{ x }}"},
            {"name": "b", "source": "two"},
            {"name": "c", "path": "etc/{{ x }}", "source": "three"},
            context={"x": "one"},
        ),
        Renderer(),
        "/task",
    )
    assert [(step.content, step.path, step.is_last_script) for step in steps] == [
        ("one", "", False),
        ("two", "", True),
        ("three", "/task/etc/one", False),
    ]


def test_one_undefined_name_is_an_error_for_all() -> None:
    with pytest.raises(RenderError, match="b"):
        render_steps(order({"name": "a", "source": "one"}, {"name": "b", "source": "{{ y }}"}), Renderer(), "/task")


def test_a_relative_path_stays_in_the_tasks_folder() -> None:
    with pytest.raises(TaskError, match="leads out of the task's folder"):
        render_steps(order({"name": "a", "path": "../x", "source": ""}), Renderer(), "/task")


def test_a_file_has_exactly_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "new/file"
    write_file(str(path), "text", 0o640)
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("text", 0o640)


def test_a_mode_is_octal() -> None:
    assert (mode_of(TaskFile("n", "/p", "", mode="0755"), 0o644), mode_of(TaskFile("n", "/p", ""), 0o644)) == (
        0o755,
        0o644,
    )
    with pytest.raises(TaskError, match="is not octal"):
        mode_of(TaskFile("n", "/p", "", mode="rwx"), 0o644)


@pytest.mark.parametrize(("name", "file"), [("a b/c", "a-b-c"), ("x.sh", "x.sh"), ("", "script")])
def test_a_scripts_file_tells_in_ps_what_runs(name: str, file: str) -> None:
    assert script_name(name) == file
