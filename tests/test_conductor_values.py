"""Values of params: who is given what, what is taken in and how, what is kept sealed."""

import pytest

from agent.render import Renderer
from provisioner.conductor.values import Values, holds_sealed, sealed_packs, unopenable
from provisioner.content.stack import Item, Pack
from provisioner.errors import Conflict, Invalid, NotFound, Refused
from provisioner.expand import CannotExpand
from provisioner.model.content import Param, Profile, Stage
from provisioner.model.machines import ExitState, Job, JobState, Machine, RenderedFile
from provisioner.params import REDACTED, is_sealed
from provisioner.vault import Vault
from tests.parts import BMC, OPERATOR, START, task

VAULT = Vault([bytes(32)])
SECRET = "hush-hush"
PARAMS = (
    Param(name="secret", secure=True, schema={"type": "string"}),
    Param(name="text", expand=True),
    Param(name="url", expand=True, default='http://{{ param("secret") }}@h'),
    Param(name="count", schema={"type": "integer"}),
    Param(name="token", secure=True, expand=True),
)


def values(*objects, vault=VAULT):
    view = {"params": {}, "profiles": {}, "stages": {}, "bootenvs": {}}
    for value in (*PARAMS, *objects):
        view[value.kind][value.name] = value
    return Values(view, vault, Renderer())


def machine(**params):
    return Machine(id="m", name="n1", created_at=START, updated_at=START, params=params)


# --- taking in ------------------------------------------------------------------------------------------------


def test_secure_values_are_sealed_and_others_are_not():
    taken = values().accept({"secret": SECRET, "count": 1}, {})
    assert is_sealed(taken["secret"]) and VAULT.open(taken["secret"]) == SECRET and taken["count"] == 1


def test_every_wrong_value_is_named():
    with pytest.raises(Invalid) as error:
        values().accept({"secret": 1, "count": "x", "gone": 1, "text": "{% if %}"}, {})
    assert [each.path for each in error.value.fields] == ["secret", "count", "gone", "text"]


def test_a_secure_template_that_is_none_is_not_quoted():
    with pytest.raises(Invalid) as error:
        values().accept({"token": "{{ hush"}, {})
    assert error.value.fields[0].message == "is not a template"


def test_asterisks_stand_for_what_is_kept():
    kept = {"secret": VAULT.seal(SECRET)}
    assert values().accept({"secret": REDACTED}, kept) == kept


def test_asterisks_for_nothing_are_refused():
    with pytest.raises(Invalid, match="none is kept here; give the value itself"):
        values().accept({"secret": REDACTED}, {})


def test_asterisks_are_a_value_like_any_other_where_nothing_is_hidden():
    assert values().accept({"text": REDACTED}, {"text": "x"}) == {"text": REDACTED}


@pytest.mark.parametrize("cls", [Profile, Stage])
def test_objects_are_taken_in_like_machines(cls):
    kept = cls(name="o", params={"secret": VAULT.seal(SECRET)})
    rules = values()
    assert rules.accept_content(cls(name="o", params={"secret": REDACTED, "count": 1}), kept).params == {
        **kept.params,
        "count": 1,
    }
    assert is_sealed(rules.accept_content(cls(name="o", params={"secret": "new"}), kept).params["secret"])
    for value in (REDACTED, VAULT.seal("forged")):
        with pytest.raises(Invalid) as error:
            rules.accept_content(cls(name="other", params={"secret": value}), None)
        assert error.value.fields[0].path == "params.secret"


def test_the_default_of_a_secure_param_is_sealed():
    rules = values()
    taken = rules.accept_content(Param(name="secret", secure=True, default=SECRET), None)
    assert VAULT.open(taken.default) == SECRET
    again = rules.accept_content(Param(name="secret", secure=True, default=REDACTED), taken)
    assert again.default == taken.default
    with pytest.raises(Invalid) as error:
        rules.accept_content(Param(name="secret", secure=True, default=REDACTED), None)
    assert error.value.fields[0].path == "default"


def test_packs_are_sealed_across_each_other():
    declares = Pack("a", "a.yaml", items=(Item(Param(name="secret", secure=True, default="x"), "a.yaml"),))
    uses = Pack("b", "b.yaml", items=(Item(Profile(name="p", params={"secret": "x", "open": 1}), "b.yaml"),))
    first, second = sealed_packs([declares, uses], VAULT)
    assert is_sealed(first.items[0].object.default)
    params = second.items[0].object.params
    assert is_sealed(params["secret"]) and params["open"] == 1


# --- keeping --------------------------------------------------------------------------------------------------


def test_what_is_plain_or_sealed_with_an_old_key_is_sealed_again():
    both = Vault([bytes(32), bytes(range(32))])
    rules = values(vault=both)
    for old in (SECRET, VAULT.seal(SECRET)):
        kept = rules.sealed(machine(secret=old)).params["secret"]
        assert both.is_fresh(kept) and both.open(kept) == SECRET


def test_what_is_kept_as_it_should_be_stays_itself():
    rules = values()
    kept = machine(secret=rules.seal("secret", SECRET), count=1)
    assert rules.sealed(kept) is kept


def test_values_whose_key_is_not_there_are_named():
    kept = [machine(secret=VAULT.seal("x")), Profile(name="p", params={"secret": VAULT.seal("x")}), Profile(name="q")]
    assert unopenable(kept, Vault([bytes(range(32))])) == ["machines/n1", "profiles/p"]
    assert unopenable(kept, VAULT) == []


def test_it_is_known_whether_anything_is_sealed():
    assert holds_sealed([machine(), machine(secret=VAULT.seal("x"))])
    assert not holds_sealed([machine(secret="plain"), Param(name="x")])


# --- giving out -----------------------------------------------------------------------------------------------


def test_what_is_shown_is_expanded_and_hides_secrets_and_what_they_are_in():
    shown = values().shown(machine(secret=VAULT.seal(SECRET), text="{{ machine.name }}"))
    assert shown == {"secret": REDACTED, "text": "n1", "url": REDACTED}


def test_why_tells_for_each_what_is_wrong_with_it():
    told = values().why(machine(text="{{ gone }}", token=VAULT.seal("{{ gone }}")))
    assert told["text"].error == "param 'text' cannot be expanded: 'gone' is undefined"
    assert told["token"].value == REDACTED and "why is hidden" in told["token"].error
    assert "param 'secret' has no value for this machine" in told["url"].error


def test_one_value_is_shown_or_revealed():
    rules, it = values(), machine(secret=VAULT.seal(SECRET), count=2)
    assert (rules.one(it, "secret"), rules.one(it, "count")) == (REDACTED, 2)
    assert rules.reveal(it, "url") == (f"http://{SECRET}@h", True)
    for ask in (rules.one, rules.reveal, rules.why_one):
        with pytest.raises(NotFound, match="machine n1 has no value for param 'gone'"):
            ask(it, "gone")


def test_a_family_of_params_is_opened():
    it = machine(secret=VAULT.seal(SECRET), count=2)
    assert values().below(it, "sec") == {"secret": SECRET}


def test_a_value_that_was_damaged_is_an_error_of_that_param_only():
    it = machine(secret={"$sealed": "nokey:xx"}, count=2)
    assert values().shown(it)["count"] == 2
    with pytest.raises(CannotExpand, match="param 'secret' cannot be expanded: a secure value was sealed with key"):
        values().reveal(it, "secret")


# --- in the conductor -----------------------------------------------------------------------------------------


async def test_the_power_driver_logs_in_with_the_opened_password(parts):
    machine = await parts.ready(params=BMC)
    assert is_sealed(parts.machine(machine).params["power/password"])
    assert parts.actions._params(parts.machine(machine))["power/password"] == BMC["power/password"]


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("{{ gone }}", "param 'mine' cannot be expanded: 'gone' is undefined"),
        (
            '{{ param("other") }}',
            "param 'mine' cannot be expanded: mine > other > mine: a param cannot refer to itself",
        ),
        ('{{ param("needed") }}', "param 'mine' cannot be expanded: param 'needed' has no value for this machine"),
    ],
    ids=["undefined", "circle", "missing"],
)
@pytest.mark.parametrize("field", ["required_params", "optional_params"])
async def test_a_job_whose_param_cannot_be_expanded_fails_at_once(parts, field, template, says):
    await parts.catalog.put(Param(name="other", expand=True, default='{{ param("mine") }}'), OPERATOR)
    await parts.catalog.put(Param(name="mine", expand=True, default=template), OPERATOR)
    await parts.catalog.put(task("asks", **{field: ("mine",)}), OPERATOR)
    await parts.catalog.put(Stage(name="asks", tasks=("asks",)), OPERATOR)
    machine = await parts.ready(stage="asks")
    with pytest.raises(Refused) as error:
        for _ in range(3):
            await parts.claim(machine)
    assert error.value.message.startswith(says)
    job = parts.ledger.read(Job, parts.machine(machine).current_job)
    assert (job.state, job.message) == (JobState.FAILED, error.value.message)


async def test_a_broken_param_that_a_task_does_not_declare_stops_nothing(parts):
    await parts.catalog.put(Param(name="mine", expand=True, default="{{ gone }}"), OPERATOR)
    machine = await parts.ready(stage="redo")
    assert (await parts.begin(machine)).task == "redo"


async def test_secrets_are_hidden_in_what_was_rendered_though_they_have_changed_since(parts):
    leak = task("leak", optional_params=("secret",))
    await parts.catalog.put(leak, OPERATOR)
    await parts.catalog.put(Stage(name="leak", tasks=("leak",)), OPERATOR)
    machine = await parts.ready(stage="leak", params={"secret": "first-secret"})
    job = await parts.begin(machine)
    await parts.change(machine, params={"secret": "second-secret"})
    files = (RenderedFile("run", "echo first-secret second-secret", path="/first-secret"),)
    await parts.jobs.report_actions(job.id, files, OPERATOR)
    doc = (await parts.database.actions(job.id)).decode()
    assert "first-secret" not in doc and "second-secret" not in doc and doc.count(REDACTED) == 3
    ended = await parts.end(job, JobState.FAILED, ExitState.FAILED, "login with first-secret failed")
    assert ended.message == f"login with {REDACTED} failed"


async def test_boot_files_see_params_expanded_and_no_secrets(parts):
    await parts.catalog.put(Param(name="text", expand=True, default="{{ machine.name }}!"), OPERATOR)
    machine = parts.machine(await parts.ready(params={"secret": SECRET}, name="n1"))
    given = parts.catalog.values.of(machine).plain()
    assert given.params["text"] == "n1!" and "secret" not in given.params


async def test_an_edit_of_a_pack_is_refused_before_its_values_are_looked_at(parts):
    with pytest.raises(Conflict, match="read-only"):
        await parts.catalog.put(Profile(name="rack", params={"secret": REDACTED}), OPERATOR)


async def test_a_secure_value_in_an_edit_is_checked_against_its_schema(parts):
    with pytest.raises(Invalid, match="does not fit its schema") as error:
        await parts.catalog.put(Profile(name="mine", params={"secret": 5}), OPERATOR)
    assert error.value.fields[0].path == "params.secret"
