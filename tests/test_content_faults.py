"""What is wrong with one object by itself."""

from typing import Any

import pytest

from provisioner.content.faults import name_fault, own_faults
from provisioner.model.content import BootArch, Bootenv, BootFile, Content, Param, Retry, Stage, Task, TaskFile


def told(value: Content) -> list[str]:
    return [f"{error.path}: {error.message}" for error in own_faults(value)]


@pytest.mark.parametrize("name", ["a", "power/address", "10-x.y_z", "a/b/c", "Debian12"])
def test_these_are_names(name: str) -> None:
    assert not name_fault(name)


@pytest.mark.parametrize("name", ["", "/a", "a/", "a//b", "../a", ".a", "a b", "stage:x", "a\n", "ä", "-a"])
def test_these_are_no_names(name: str) -> None:
    assert name_fault(name)


def script(**fields: Any) -> TaskFile:
    return TaskFile(name="x", contents="true", **fields)


@pytest.mark.parametrize(
    ("value", "line"),
    [
        (
            Task(name="t", files=(TaskFile(name="x"),)),
            "files[0]: must have either `template` or `contents`, has neither",
        ),
        (
            Task(name="t", files=(TaskFile(name="x", template="a", contents="b"),)),
            "files[0]: must have either `template` or `contents`, has both",
        ),
        (Task(name="t", files=(script(), script())), "files[1].name: 'x' is the name of files[0] too"),
        (Task(name="t", files=(script(mode="999"),)), "files[0].mode: '999' is no file mode; write it like '0644'"),
        (Task(name="t", timeout_seconds=-1), "timeout_seconds: -1 is less than 0"),
        (Task(name="t", heartbeat_seconds=0), "heartbeat_seconds: 0 is less than 1"),
        (Task(name="t", retry=Retry(max=-1)), "retry.max: -1 is less than 0"),
        (Task(name="t", heartbeat_seconds=1e30), "heartbeat_seconds: 1e+30 is more than 31622400, a year"),
        (
            Task(name="t", retry=Retry(backoff_seconds=1e30)),
            "retry.backoff_seconds: 1e+30 is not from 0 to 86400, a day",
        ),
        (
            Task(name="t", retry=Retry(max_backoff_seconds=-1)),
            "retry.max_backoff_seconds: -1 is not from 0 to 86400, a day",
        ),
        (Task(name="t", max_resumes=-1), "max_resumes: -1 is less than 0; 0 is no limit"),
        (Stage(name="none"), "name: 'none' means no stage; give it another name"),
        (
            Stage(name="s", tasks=("acton:x",)),
            "tasks[0]: 'acton:x' is no entry; there is: a task's name, stage:NAME, bootenv:NAME, action:NAME",
        ),
        (
            Stage(name="s", tasks=("stage:",)),
            "tasks[0]: 'stage:' is no entry; there is: a task's name, stage:NAME, bootenv:NAME, action:NAME",
        ),
        (Bootenv(name="b", arch={"vax": BootArch("k")}), "arch.vax: unknown arch 'vax'; there is: amd64, arm64"),
        (
            Bootenv(name="b", arch={"amd64": BootArch("../k")}),
            "arch.amd64.kernel: '../k' is not a path below /files/",
        ),
        (
            Bootenv(name="b", arch={"amd64": BootArch("k", ("/i",))}),
            "arch.amd64.initrds[0]: '/i' is not a path below /files/",
        ),
        (Bootenv(name="b", files=(BootFile("f"),)), "files[0]: must have either `template` or `contents`, has neither"),
        (Param(name="p", schema={"type": "integer"}, default="x"), "default: 'x' is not of type 'integer'"),
    ],
)
def test_a_fault_is_told_with_its_field(value: Content, line: str) -> None:
    assert told(value) == [line]


def test_an_object_may_be_as_small_as_its_name() -> None:
    assert not any(told(cls(name="x")) for cls in (Task, Stage, Bootenv, Param))
