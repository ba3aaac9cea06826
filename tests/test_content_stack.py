"""What is wrong between objects."""

from provisioner.content.located import Problem
from provisioner.content.stack import Item, Stack
from provisioner.model.content import Content, Param, Profile, Stage, Task, TaskFile, Template


def problems(*objects: Content) -> list[Problem]:
    items = [Item(value, f"{value.name}.yaml") for value in objects]
    return list(Stack(items).problems(items))


def told(*objects: Content) -> list[str]:
    return [f"{each.object} {each.field}: {each.message}" for each in problems(*objects)]


def test_a_close_name_is_offered() -> None:
    (line,) = told(Task(name="image-write"), Stage(name="s", tasks=("image-wirte",)))
    assert line == "stages/s tasks[0]: unknown task 'image-wirte'; there is: image-write; did you mean 'image-write'?"


def test_a_loop_of_profiles_is_told_with_its_way() -> None:
    loop = [Profile(name="a", profiles=("b",)), Profile(name="b", profiles=("c",)), Profile(name="c", profiles=("a",))]
    assert told(*loop)[0] == "profiles/a profiles[0]: the profile includes itself: a > b > c > a"


def test_a_profile_beside_a_loop_is_not_blamed_for_it() -> None:
    loop = [Profile(name="a", profiles=("b",)), Profile(name="b", profiles=("a",)), Profile(name="x", profiles=("a",))]
    assert {problem.object for problem in problems(*loop)} == {"profiles/a", "profiles/b"}


def test_a_loop_of_repairs_is_told_with_its_way() -> None:
    loop = [Task(name=name, on_error=(after,)) for name, after in (("a", "b"), ("b", "a"), ("c", "c"))]
    assert told(*loop) == [
        "tasks/a on_error[0]: the task is to repair itself: a > b > a",
        "tasks/b on_error[0]: the task is to repair itself: b > a > b",
        "tasks/c on_error[0]: the task is to repair itself: c > c",
    ]


def test_a_task_beside_a_loop_of_repairs_is_not_blamed_for_it() -> None:
    loop = [Task(name=name, on_error=(after,)) for name, after in (("a", "b"), ("b", "a"), ("c", "a"))]
    assert not [line for line in told(*loop) if line.startswith("tasks/c")]


def test_an_unknown_repair_is_told_with_those_there_are() -> None:
    assert told(Task(name="a", on_error=("mend", "stage:x")), Task(name="fix")) == [
        "tasks/a on_error[0]: unknown task 'mend'; there is: a, fix",
        "tasks/a on_error[1]: unknown task 'stage:x'; there is: a, fix",
    ]


def test_values_of_profiles_and_stages_must_fit() -> None:
    param = Param(name="n", schema={"type": "integer"})
    assert told(param, Profile(name="p", params={"n": "x"})) == ["profiles/p params.n: 'x' is not of type 'integer'"]
    assert told(param, Stage(name="s", params={"n": "x"})) == ["stages/s params.n: 'x' is not of type 'integer'"]


def test_a_broken_schema_is_told_once_and_not_by_its_users() -> None:
    (line,) = told(Param(name="n", schema={"type": "int"}), Profile(name="p", params={"n": "x"}))
    assert line.startswith("params/n schema.type: ")


def test_the_line_of_a_template_is_the_lines_of_its_file() -> None:
    (problem,) = problems(Template(name="t", contents="one\n{% include 'gone' %}\n"))
    assert (problem.line, problem.message) == (2, "unknown template 'gone'; there is: t")


def test_an_undeclared_param_in_a_template_is_a_warning() -> None:
    (problem,) = problems(Template(name="t", contents="{{ param('gone') }}"))
    assert problem.warning and problem.message == "unknown param 'gone'; there is none yet"


def test_a_task_may_not_count_on_names_of_boot_files() -> None:
    task = Task(name="x", files=(TaskFile(name="a", template="t"),))
    (problem,) = problems(task, Template(name="t", contents="{{ kernel_url }}"))
    assert problem.warning and problem.message.startswith("unknown name 'kernel_url'")


def test_an_included_template_may_use_names_that_its_includer_sets() -> None:
    includer = Template(name="a", contents="{% set mine = 1 %}{% include 'b' %}")
    assert not problems(includer, Template(name="b", contents="{{ mine }}"))


def test_a_secret_that_the_task_does_not_declare_is_a_warning() -> None:
    task = Task(name="x", files=(TaskFile(name="a", contents="{{ param('s') }}"),))
    (problem,) = problems(Param(name="s", secure=True), task)
    assert problem.warning
    assert problem.message == "uses the secure param 's', which the task does not declare"


def test_a_declared_secret_is_fine() -> None:
    task = Task(name="x", files=(TaskFile(name="a", contents="{{ param('s') }}"),), optional_params=("s",))
    assert not problems(Param(name="s", secure=True), task)


def test_the_path_of_a_file_is_checked_as_a_template() -> None:
    (problem,) = problems(Task(name="x", files=(TaskFile(name="a", path="{{ nope", contents="c"),)))
    assert problem.field == "files[0].path" and problem.message.startswith("is not a template: ")


def test_a_great_web_of_profiles_without_a_loop_is_looked_through_once() -> None:
    layers = [(f"a{number}", f"b{number}") for number in range(60)]
    web = [
        Profile(name=name, profiles=below) for names, below in zip(layers, layers[1:], strict=False) for name in names
    ]
    assert told(*web, *(Profile(name=name) for name in layers[-1])) == []


EXPANDS = Param(name="x", expand=True, schema={"type": "integer"})


def test_a_value_that_holds_a_broken_template_is_told_with_its_path() -> None:
    value = {"dns": ["{{ machine.name }}", "{% if %}"]}
    (problem,) = problems(Param(name="net", expand=True), Profile(name="p", params={"net": value}))
    assert (problem.object, problem.field) == ("profiles/p", "params.net.dns[1]")
    assert problem.message.startswith("is not a template: ") and not problem.warning


def test_a_template_in_a_value_may_use_what_the_machine_is_and_not_what_a_job_is() -> None:
    (line,) = told(EXPANDS, Stage(name="s", params={"x": "{{ machine.name }}{{ server.url }}{{ job.id }}"}))
    assert line.startswith("stages/s params.x: unknown name 'job'; there is: bootenv, machine, param")


def test_a_template_in_a_default_names_params_that_exist() -> None:
    (line,) = told(Param(name="x", expand=True, default='{{ param("gone") }}'))
    assert line == "params/x default: unknown param 'gone'; there is: x"


def test_a_template_in_a_secure_value_is_not_quoted() -> None:
    (line,) = told(Param(name="x", expand=True, secure=True), Profile(name="p", params={"x": "{{ hush"}))
    assert line == "profiles/p params.x: is not a template"


def test_without_expand_a_value_may_look_like_a_template() -> None:
    assert told(Param(name="x", default="{% if %}")) == []
