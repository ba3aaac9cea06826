"""What is said of a machine."""

import json

import pytest

from agent.errors import Nonsense
from agent.protocol import (
    LONG_POLL_SECONDS,
    delete_param,
    get_params,
    hello,
    look,
    next_stage,
    prepare_reboot,
    put_inventory,
    read_registration,
    read_stage_action,
    read_work,
    register,
    set_param,
    set_params,
)

WORK = {"revision": 3, "runnable": True, "bootenv": "discovery"}


@pytest.mark.parametrize(
    ("request_", "line", "body"),
    [
        (register({"macs": []}, "k"), "POST /api/v1/register", {"macs": []}),
        (hello("m", {"boot_id": "b"}), "POST /api/v1/machines/m/hello", {"boot_id": "b"}),
        (look("m"), "GET /api/v1/machines/m/work", None),
        (look("m", 7), "GET /api/v1/machines/m/work?revision=7&wait=80", None),
        (next_stage("m"), "POST /api/v1/machines/m/next-stage", {}),
        (prepare_reboot("m"), "POST /api/v1/machines/m/prepare-reboot", {}),
        (put_inventory("m", {"cpu": {}}), "PUT /api/v1/machines/m/inventory", {"cpu": {}}),
        (get_params("m"), "GET /api/v1/machines/m/params?aggregate=true", None),
        (set_param("m", "a/b c", [1]), "PUT /api/v1/machines/m/params/a%2Fb%20c", [1]),
        (delete_param("m", "a/b"), "DELETE /api/v1/machines/m/params/a%2Fb", None),
    ],
)
def test_a_request_on_the_wire(request_: object, line: str, body: object) -> None:
    assert f"{request_.method} {request_.path}" == line  # type: ignore[attr-defined]
    assert (json.loads(request_.body) if request_.body else None) == body  # type: ignore[attr-defined]


def test_only_the_long_poll_may_be_cut_off_and_it_outlasts_the_servers_wait() -> None:
    assert look("m", 1).interruptible
    assert look("m", 1, 0.999).timeout_seconds > LONG_POLL_SECONDS[1]


def test_waits_differ_from_agent_to_agent_and_stay_below_what_the_server_allows() -> None:
    waits = {int(look("m", 1, step / 100).path.rpartition("=")[2]) for step in range(100)}
    assert (min(waits), max(waits)) == LONG_POLL_SECONDS
    assert len(waits) > 20


def test_several_params_go_as_a_merge_patch() -> None:
    request = set_params("m", {"a/b": 1, "c": None})
    assert (request.method, request.path, request.body) == (
        "PATCH",
        "/api/v1/machines/m/params",
        b'{"a/b": 1, "c": null}',
    )


def test_a_registration_carries_the_key_of_all_its_tries() -> None:
    assert register({}, "k").headers["Idempotency-Key"] == "k"


def test_a_registration_keeps_our_url_unless_told_another() -> None:
    assert read_registration({"machine": "m", "token": "t"}, "http://here").url == "http://here"
    assert read_registration({"machine": "m", "token": "t", "url": "http://there"}, "http://here").url == "http://there"


def test_a_token_is_in_no_representation() -> None:
    assert "geheim" not in repr(read_registration({"machine": "m", "token": "geheim"}, ""))


@pytest.mark.parametrize(
    ("more", "is_done"),
    [
        ({"tasks": [], "current_task": -1}, True),
        ({"tasks": ["a"], "current_task": -1}, False),
        ({"tasks": ["a", "b"], "current_task": 1}, False),
        ({"tasks": ["a", "b"], "current_task": 2}, True),
        ({"tasks": 2, "current_task": 2}, True),
        ({}, True),
    ],
)
def test_done_is_when_no_task_is_left(more: dict[str, object], is_done: bool) -> None:
    assert read_work({**WORK, **more}).is_done is is_done


def test_fields_of_a_newer_server_are_ignored() -> None:
    assert read_work({**WORK, "weather": "fine"}).revision == 3


@pytest.mark.parametrize(
    ("read", "answer"),
    [
        (read_work, None),
        (read_work, {"revision": 1}),
        (read_work, []),
        (read_stage_action, {}),
        (lambda answer: read_registration(answer, ""), {"machine": "m"}),
    ],
)
def test_an_answer_that_lacks_what_it_must_have_is_nonsense(read: object, answer: object) -> None:
    with pytest.raises(Nonsense, match="cannot understand the server's"):
        read(answer)  # type: ignore[operator]
