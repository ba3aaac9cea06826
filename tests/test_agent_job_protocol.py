"""The words of one job."""

import json

import pytest

from agent.errors import Nonsense
from agent.job_protocol import (
    Asset,
    Holder,
    RenderedFile,
    TaskFile,
    append_log,
    claim,
    heartbeat,
    put_asset,
    read_asset,
    read_log_size,
    read_work_order,
    report_result,
    start_job,
    upload_actions,
)

HOLDER = Holder("boot", "process")
ORDER = {"job": {"id": "j"}, "task": {"name": "t"}}


@pytest.mark.parametrize(
    ("request_", "line", "body"),
    [
        (claim("m", HOLDER, "k"), "POST /api/v1/jobs", {"machine": "m", "boot_id": "boot", "instance": "process"}),
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


def test_a_file_of_a_job_is_sent_from_disk() -> None:
    request = put_asset("j", "a b.txt", "/tmp/x")
    assert (request.method, request.path, request.body_file) == ("PUT", "/api/v1/jobs/j/assets/a%20b.txt", "/tmp/x")


def test_what_the_server_keeps_of_a_file_is_read() -> None:
    assert read_asset({"name": "a", "size": 3, "sha256": "ff", "created_at": "now"}) == Asset("a", 3, "ff")
    with pytest.raises(Nonsense):
        read_asset({"name": "a"})


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
        (read_work_order, {"job": {}}),
        (read_work_order, {**ORDER, "files": [{"name": "n"}]}),
        (read_log_size, {"size": "x"}),
    ],
)
def test_an_answer_that_lacks_what_it_must_have_is_nonsense(read: object, answer: object) -> None:
    with pytest.raises(Nonsense, match="cannot understand the server's"):
        read(answer)  # type: ignore[operator]


def test_a_claim_carries_the_key_of_all_its_tries_and_is_never_cut_off() -> None:
    assert claim("m", HOLDER, "k").headers["Idempotency-Key"] == "k"
    assert not claim("m", HOLDER, "k").interruptible
