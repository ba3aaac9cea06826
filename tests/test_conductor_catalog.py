"""The content in force: edits over packs, checked as a whole, and what may be removed."""

import sqlite3

import pytest
from structlog.testing import capture_logs

from agent.render import Renderer
from provisioner.conductor.catalog import Catalog
from provisioner.content.whole import build, build_without_bad_edits
from provisioner.errors import Conflict, ContentError, NotFound, StoreError
from provisioner.model.content import BootArch, Bootenv, Param, Profile, Stage, Template, Workflow
from provisioner.model.machines import Hold, JobState
from provisioner.params import is_sealed
from tests.parts import OPERATOR, PACK, Parts, task


async def test_an_edit_is_in_force_and_belongs_to_no_pack(parts):
    await parts.catalog.put(Stage(name="mine", tasks=("one",), pack="forged"), OPERATOR)
    assert parts.catalog.find("stages", "mine") == Stage(name="mine", tasks=("one",))
    assert await parts.events("object.put") == [("stages/mine", {})]


async def test_edits_are_in_force_again_after_a_restart(parts, tmp_path):
    await parts.catalog.put(Stage(name="mine", tasks=("one",)), OPERATOR)
    again = Parts(tmp_path)
    await again.open()
    assert again.catalog.find("stages", "mine").tasks == ("one",)
    await again.close()


async def test_an_edit_can_be_saved_again_under_its_name(parts):
    for tasks in (("one",), ("two",)):
        await parts.catalog.put(Stage(name="mine", tasks=tasks), OPERATOR)
    assert parts.catalog.find("stages", "mine").tasks == ("two",)


async def test_a_bad_edit_changes_nothing(parts):
    before = parts.catalog.view
    with pytest.raises(ContentError, match="unknown param 'size'; there is: .*colour") as caught:
        await parts.catalog.put(Profile(name="mine", params={"size": 1}), OPERATOR)
    assert [field.path for field in caught.value.fields] == ["params.size"]
    assert parts.catalog.view is before and await parts.events("object.put") == []
    assert parts.ledger.get(Profile, "mine") is None


async def test_an_edit_that_names_what_does_not_exist_is_saved_and_says_why_it_cannot_be_used(parts):
    await parts.catalog.put(Workflow(name="mine", stages=("discover", "later")), OPERATOR)
    (reason,) = parts.catalog.errors(parts.catalog.find("workflows", "mine"))
    assert reason.startswith("stages[1]: unknown stage 'later'; there is: discover, ")
    await parts.catalog.put(Stage(name="later"), OPERATOR)
    assert parts.catalog.errors(parts.catalog.find("workflows", "mine")) == ()


async def test_a_boot_environment_without_its_files_says_which(parts):
    catalog = Catalog(
        parts.ledger,
        lambda edits: build([PACK], edits),
        vault=parts.vault,
        renderer=Renderer(),
        missing_files=lambda bootenv: ("no kernel",) if bootenv.netboots else (),
    )
    catalog.load()
    assert catalog.errors(catalog.find("bootenvs", "discovery")) == ("no kernel",)
    assert catalog.errors(catalog.find("bootenvs", "local")) == ()


async def test_machines_that_an_edit_breaks_wait_and_go_on_when_another_mends_it(parts):
    machine = await parts.ready()
    net = Bootenv(name="net", arch={"amd64": BootArch("k")})
    await parts.catalog.put(net, OPERATOR)
    await parts.catalog.put(Stage(name="there", bootenv="net", tasks=("one",)), OPERATOR)
    await parts.change(machine, stage="there", force=True)
    await parts.hello(machine, boot_id="boot-2", bootenv="net")
    job = await parts.begin(machine, boot_id="boot-2")
    await parts.catalog.put(Bootenv(name="net", arch={"arm64": BootArch("k")}), OPERATOR)
    held = parts.machine(machine)
    assert held.errors == ("bootenv 'net' has nothing for amd64; it has: arm64",)
    assert (held.runnable, held.hold) == (False, Hold.ERRORS)
    assert parts.jobs.find(job.id).state is JobState.RUNNING and not parts.jobs.find(job.id).cancel_requested
    await parts.catalog.put(net, OPERATOR)
    assert parts.machine(machine).errors == () and parts.machine(machine).runnable


async def test_only_edits_saved_long_ago_may_be_left_out(parts):
    """The packs may have changed since they were saved; a new bad edit is refused all the same."""

    def build_saved(edits):
        return build_without_bad_edits([PACK], edits)[0]

    tx = parts.ledger.transaction()
    tx.put(Stage(name="stale", tasks=("no:entry",)))
    await tx.commit()
    catalog = Catalog(
        parts.ledger, lambda edits: build([PACK], edits), build_saved, vault=parts.vault, renderer=Renderer()
    )
    catalog.load()
    with pytest.raises(ContentError, match="no:where"):
        await catalog.put(Stage(name="mine", tasks=("no:where",)), OPERATOR)
    assert parts.ledger.get(Stage, "mine") is None
    await catalog.put(Workflow(name="mine", stages=("discover",)), OPERATOR)
    assert "mine" in catalog.view["workflows"] and "stale" not in catalog.view["stages"]
    await catalog.put(Stage(name="stale", tasks=("one",)), OPERATOR)
    assert catalog.find("stages", "stale").tasks == ("one",)
    await catalog.delete("stages", "stale", OPERATOR)


@pytest.mark.parametrize("name", ["one", "two"])
async def test_what_comes_from_a_pack_is_read_only(parts, name):
    with pytest.raises(Conflict, match=f"task '{name}' comes from pack 'base' and is read-only") as caught:
        await parts.catalog.put(task(name), OPERATOR)
    assert caught.value.code == "read-only"
    with pytest.raises(Conflict, match="read-only"):
        await parts.catalog.delete("tasks", name, OPERATOR)


async def test_an_unknown_name_is_told_with_those_there_are(parts):
    with pytest.raises(NotFound, match="unknown bootenv 'x'; there is: discovery, local, picky"):
        parts.catalog.find("bootenvs", "x")
    with pytest.raises(NotFound, match="unknown stage 'x'"):
        await parts.catalog.delete("stages", "x", OPERATOR)


async def test_an_unused_edit_is_removed(parts):
    await parts.catalog.put(Stage(name="mine"), OPERATOR)
    await parts.catalog.delete("stages", "mine", OPERATOR)
    assert "mine" not in parts.catalog.view["stages"] and parts.ledger.get(Stage, "mine") is None
    assert await parts.events("object.delete") == [("stages/mine", {})]


@pytest.mark.parametrize(
    ("used", "user"),
    [
        (Stage(name="mine"), Workflow(name="user", stages=("mine",))),
        (task("mine"), Stage(name="user", tasks=("mine",))),
        (Param(name="mine"), Profile(name="user", params={"mine": 1})),
        (Template(name="mine", contents="x"), Template(name="user", contents='{% include "mine" %}')),
    ],
    ids=lambda value: value.kind,
)
async def test_what_other_content_uses_stays_and_its_users_are_named(parts, used, user):
    await parts.catalog.put(used, OPERATOR)
    await parts.catalog.put(user, OPERATOR)
    with pytest.raises(Conflict, match=f"'mine' is in use by {user.kind}/user") as caught:
        await parts.catalog.delete(used.kind, "mine", OPERATOR)
    assert caught.value.code == "in-use" and "mine" in parts.catalog.view[used.kind]


async def test_what_a_machine_uses_stays_and_the_machine_is_named(parts):
    machine = await parts.ready(bootenv="local")
    await parts.catalog.put(Workflow(name="mine", stages=("finish",)), OPERATOR)
    await parts.catalog.put(Profile(name="mine", params={"colour": "red"}), OPERATOR)
    await parts.change(machine, workflow="mine", profiles=("mine",), name="n1")
    for kind in ("workflows", "profiles"):
        with pytest.raises(Conflict, match="in use by machine n1"):
            await parts.catalog.delete(kind, "mine", OPERATOR)


async def test_what_a_setting_names_stays(parts):
    catalog = Catalog(
        parts.ledger,
        lambda edits: build([PACK], edits),
        vault=parts.vault,
        renderer=Renderer(),
        settings={"workflows/mine": "machines.default_workflow"},
    )
    catalog.load()
    await catalog.put(Workflow(name="mine", stages=("finish",)), OPERATOR)
    with pytest.raises(Conflict, match="workflow 'mine' is in use by setting machines.default_workflow"):
        await catalog.delete("workflows", "mine", OPERATOR)


async def test_a_task_that_waits_in_a_machines_list_stays(parts):
    machine = await parts.ready(bootenv="local")
    await parts.catalog.put(task("mine"), OPERATOR)
    await parts.catalog.put(Stage(name="mine", tasks=("mine",)), OPERATOR)
    await parts.change(machine, stage="mine", force=True, name="n1")
    await parts.catalog.put(Stage(name="mine", tasks=()), OPERATOR)
    with pytest.raises(Conflict, match="in use by machine n1"):
        await parts.catalog.delete("tasks", "mine", OPERATOR)


async def test_the_value_of_a_param_comes_from_the_nearest_layer(parts):
    machine = await parts.ready()
    assert parts.catalog.param(parts.machine(machine), "count") == 3
    assert parts.catalog.param(parts.machine(machine), "colour") is None
    changed = await parts.change(machine, profiles=("rack",), params={"count": 4})
    assert parts.catalog.param(changed, "count") == 4 and parts.catalog.param(changed, "colour") == "blue"


def forbid(parts, table):
    """The disk takes nothing more for this table."""
    with sqlite3.connect(parts.database.path) as conn:
        conn.execute(f"CREATE TRIGGER full BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'disk full'); END")
        conn.execute(f"CREATE TRIGGER kept BEFORE DELETE ON {table} BEGIN SELECT RAISE(ABORT, 'disk full'); END")
    conn.close()


async def test_an_edit_that_the_disk_refuses_is_not_in_force(parts):
    forbid(parts, "stages")
    with pytest.raises(StoreError):
        await parts.catalog.put(Stage(name="mine"), OPERATOR)
    assert "mine" not in parts.catalog.view["stages"]


async def test_an_object_whose_removal_the_disk_refuses_stays_in_force(parts):
    await parts.catalog.put(Stage(name="mine"), OPERATOR)
    forbid(parts, "stages")
    with pytest.raises(StoreError):
        await parts.catalog.delete("stages", "mine", OPERATOR)
    assert "mine" in parts.catalog.view["stages"]


async def test_a_param_that_becomes_secure_is_so_though_the_file_cannot_be_scrubbed(parts):
    await parts.catalog.put(Param(name="own"), OPERATOR)
    await parts.catalog.put(Profile(name="mine", params={"own": "hush"}), OPERATOR)
    parts.database._read_conn.execute("PRAGMA query_only = ON")
    with capture_logs() as logs:
        await parts.catalog.put(Param(name="own", secure=True), OPERATOR)
    assert [line["event"] for line in logs] == ["secrets.left_in_file"]
    assert is_sealed(parts.ledger.read(Profile, "mine").params["own"])


async def test_a_store_that_fails_leaves_params_as_they_were(parts):
    await parts.catalog.put(Param(name="own"), OPERATOR)
    await parts.catalog.put(Profile(name="mine", params={"own": "hush"}), OPERATOR)
    parts.database._write_conn.execute("PRAGMA query_only = ON")
    with pytest.raises(StoreError):
        await parts.catalog.put(Param(name="own", secure=True), OPERATOR)
    parts.database._write_conn.execute("PRAGMA query_only = OFF")
    assert parts.catalog.find("params", "own").secure is False
    assert parts.catalog.find("profiles", "mine").params == {"own": "hush"}
