"""Requests and replies as values."""

import json

import pytest

from agent.errors import Nonsense
from agent.protocol import (
    LONG_POLL_SECONDS,
    Asset,
    Holder,
    RenderedFile,
    Reply,
    TaskFile,
    append_log,
    claim,
    delete_param,
    get_params,
    heartbeat,
    hello,
    look,
    next_stage,
    prepare_reboot,
    put_asset,
    put_inventory,
    read_asset,
    read_log_size,
    read_registration,
    read_stage_action,
    read_work,
    read_work_order,
    register,
    report_result,
    set_param,
    set_params,
    start_job,
    upload_actions,
)

HOLDER = Holder("boot", "process")
WORK = {"revision": 3, "runnable": True, "bootenv": "discovery"}
ORDER = {"job": {"id": "j"}, "task": {"name": "t"}}


@pytest.mark.parametrize(
    ("request_", "line", "body"),
    [
        (register({"macs": []}, "k"), "POST /api/v1/register", {"macs": []}),
        (hello("m", {"boot_id": "b"}), "POST /api/v1/machines/m/hello", {"boot_id": "b"}),
        (look("m"), "GET /api/v1/machines/m/work", None),
        (look("m", 7), "GET /api/v1/machines/m/work?revision=7&wait=80", None),
        (claim("m", HOLDER, "k"), "POST /api/v1/jobs", {"machine": "m", "boot_id": "boot", "instance": "process"}),
        (next_stage("m"), "POST /api/v1/machines/m/next-stage", {}),
        (prepare_reboot("m"), "POST /api/v1/machines/m/prepare-reboot", {}),
        (start_job("j", HOLDER), "POST /api/v1/jobs/j/start", {"boot_id": "boot", "instance": "process"}),
        (heartbeat("j", HOLDER), "POST /api/v1/jobs/j/heartbeat", {"boot_id": "boot", "instance": "process"}),
        (
            heartbeat("j", HOLDER, 40),
            "POST /api/v1/jobs/j/heartbeat",
            {"boot_id": "boot", "instance": "process", "progress": 40.0},
        ),
        (
            report_result("j", HOLDER, "failed", "failed", 3, "exit code 3", False),
            "POST /api/v1/jobs/j/result",
            {
                "boot_id": "boot",
                "instance": "process",
                "state": "failed",
                "exit_state": "failed",
                "exit_code": 3,
                "message": "exit code 3",
                "runnable": False,
            },
        ),
        (
            upload_actions("j", [RenderedFile("n", "/p", "c", "0644")]),
            "PUT /api/v1/jobs/j/actions",
            [{"name": "n", "path": "/p", "content": "c", "mode": "0644"}],
        ),
        (put_inventory("m", {"cpu": {}}), "PUT /api/v1/machines/m/inventory", {"cpu": {}}),
        (get_params("m"), "GET /api/v1/machines/m/params?aggregate=true", None),
        (set_param("m", "a/b c", [1]), "PUT /api/v1/machines/m/params/a%2Fb%20c", [1]),
        (delete_param("m", "a/b"), "DELETE /api/v1/machines/m/params/a%2Fb", None),
    ],
)
def test_a_request_on_the_wire(request_: object, line: str, body: object) -> None:
    assert f"{request_.method} {request_.path}" == line  # type: ignore[attr-defined]
    assert (json.loads(request_.body) if request_.body else None) == body  # type: ignore[attr-defined]


def test_a_log_goes_as_bytes_at_an_offset() -> None:
    request = append_log("j", 12, b"\xff")
    assert (request.path, request.body, request.content_type) == (
        "/api/v1/jobs/j/log?offset=12",
        b"\xff",
        "application/octet-stream",
    )


def test_only_the_long_poll_may_be_cut_off_and_it_outlasts_the_servers_wait() -> None:
    assert look("m", 1).interruptible
    assert look("m", 1, 0.999).timeout_seconds > LONG_POLL_SECONDS[1]
    assert not claim("m", HOLDER, "k").interruptible


def test_waits_differ_from_agent_to_agent_and_stay_below_what_the_server_allows() -> None:
    waits = {int(look("m", 1, step / 100).path.rpartition("=")[2]) for step in range(100)}
    assert (min(waits), max(waits)) == LONG_POLL_SECONDS
    assert len(waits) > 20


def test_a_file_of_a_job_is_sent_from_disk() -> None:
    request = put_asset("j", "a b.txt", "/tmp/x")
    assert (request.method, request.path, request.body_file) == ("PUT", "/api/v1/jobs/j/assets/a%20b.txt", "/tmp/x")


def test_what_the_server_keeps_of_a_file_is_read() -> None:
    assert read_asset({"name": "a", "size": 3, "sha256": "ff", "created_at": "now"}) == Asset("a", 3, "ff")
    with pytest.raises(Nonsense):
        read_asset({"name": "a"})


def test_several_params_go_as_a_merge_patch() -> None:
    request = set_params("m", {"a/b": 1, "c": None})
    assert (request.method, request.path, request.body) == (
        "PATCH",
        "/api/v1/machines/m/params",
        b'{"a/b": 1, "c": null}',
    )


def test_claims_and_registrations_carry_the_key_of_all_their_tries() -> None:
    assert claim("m", HOLDER, "k").headers["Idempotency-Key"] == "k"
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


def test_a_work_order_with_the_least_it_can_have() -> None:
    order = read_work_order(ORDER)
    assert (order.job, order.task, order.files, order.log_size, order.timeout_seconds) == ("j", "t", (), 0, 0)


@pytest.mark.parametrize("order", [{**ORDER, "log_size": 5}, {**ORDER, "job": {"id": "j", "log_size": 5}}])
def test_the_log_size_stands_in_the_order_or_its_job(order: dict[str, object]) -> None:
    assert read_work_order(order).log_size == 5


def test_a_file_without_a_path_is_a_script_and_its_template_is_named_after_it() -> None:
    order = read_work_order(
        {**ORDER, "files": [{"name": "n", "source": "s"}, {"name": "m", "source": "", "path": "/p"}]}
    )
    assert order.files[0] == TaskFile("n", "", "s", "", "", "n")
    assert [file.is_script for file in order.files] == [True, False]


@pytest.mark.parametrize(
    ("read", "answer"),
    [
        (read_work, None),
        (read_work, {"revision": 1}),
        (read_work, []),
        (read_work_order, {"job": {}}),
        (read_work_order, {**ORDER, "files": [{"name": "n"}]}),
        (read_stage_action, {}),
        (read_log_size, {"size": "x"}),
        (lambda answer: read_registration(answer, ""), {"machine": "m"}),
    ],
)
def test_an_answer_that_lacks_what_it_must_have_is_nonsense(read: object, answer: object) -> None:
    with pytest.raises(Nonsense, match="cannot understand the server's"):
        read(answer)  # type: ignore[operator]


def test_a_reply_without_a_body_is_none() -> None:
    assert Reply(204, {}, b"").json() is None
