"""Documents of machines: what is settable becomes a change, what is not is named."""

import pytest
from msgspec import UNSET

from provisioner.errors import Invalid
from provisioner.services.machine_documents import DESCRIPTION, change_of, whole

SHOWN = {
    "id": "i", "name": "n", "description": "", "macs": [], "address": "", "arch": "amd64", "profiles": [],
    "params": {"a": 1, "b": 2}, "meta": {}, "workflow": "w", "runnable": True, "done": False,
}  # fmt: skip


def test_only_what_differs_is_asked_for():
    change = change_of(SHOWN, SHOWN | {"name": "m"})
    assert change.fields == ["name"]
    assert change_of(SHOWN, SHOWN).fields == []


def test_what_the_request_speaks_of_is_asked_for_though_it_is_so():
    assert change_of(SHOWN, SHOWN, {"workflow", "id"}).fields == ["workflow"]


def test_of_a_map_only_the_difference_is_asked_for():
    change = change_of(SHOWN, SHOWN | {"params": {"b": 3, "c": 4}})
    assert change.params == {"a": None, "b": 3, "c": 4}


def test_a_replacement_may_leave_out_the_work_but_nothing_else():
    described = {name: SHOWN[name] for name in DESCRIPTION} | {"description": "x"}
    assert whole(SHOWN, described).fields == ["description"] and whole(SHOWN, described).workflow is UNSET
    with pytest.raises(Invalid) as caught:
        whole(SHOWN, {"name": "n"})
    assert [fault.path for fault in caught.value.fields] == [name for name in DESCRIPTION if name != "name"]


@pytest.mark.parametrize(
    ("wanted", "spoken_of", "paths"),
    [
        ([], (), ["body"]),
        (SHOWN | {"id": "j", "x": 1, "name": 2}, (), ["id", "x", "name"]),
        ({key: SHOWN[key] for key in SHOWN if key != "name"}, ("name",), ["name"]),
        ({key: SHOWN[key] for key in SHOWN if key != "id"}, ("id",), ["id"]),
        (SHOWN | {"params": 5}, (), ["params"]),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_cannot_be_set_is_named(wanted, spoken_of, paths):
    with pytest.raises(Invalid) as caught:
        change_of(SHOWN, wanted, spoken_of)
    assert [fault.path for fault in caught.value.fields] == paths
