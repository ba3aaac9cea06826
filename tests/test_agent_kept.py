"""Results that wait for the next agent."""

import stat
from pathlib import Path

from agent.errors import Stopped
from agent.job_protocol import Holder, report_result
from agent.kept import KeptResults
from agent.messages import Request
from tests.fakes.agent_parts import Notes, PlayedTransport, client, reply

BOOT = "boot-1"


def report(job: str = "job-1", boot: str = BOOT) -> Request:
    return report_result(job, Holder(boot, "agent-1"), "finished", "complete", 0, "", True)


def told(results: KeptResults, transport: PlayedTransport, boot: str = BOOT) -> str:
    notes = Notes()
    results.tell(client(transport), boot, notes)
    return "\n".join(notes.lines)


def test_what_was_kept_is_told_as_it_would_have_been_and_then_gone(tmp_path: Path) -> None:
    results = KeptResults(str(tmp_path / "run"), "m1")
    assert results.keep("job-1", report()) == ""
    (file,) = (tmp_path / "run").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    transport = PlayedTransport(reply(503), reply(200, {}))
    assert "told the server what an earlier agent could not: /api/v1/jobs/job-1/result" in told(results, transport)
    assert transport.requests == [report(), report()]
    assert list((tmp_path / "run").iterdir()) == []


def test_what_the_server_has_is_not_kept(tmp_path: Path) -> None:
    results = KeptResults(str(tmp_path), "m1")
    results.keep("job-1", report())
    results.drop("job-1")
    results.drop("job-1")
    assert list(tmp_path.iterdir()) == []


def test_results_of_another_boot_and_files_that_are_none_are_dropped(tmp_path: Path) -> None:
    results = KeptResults(str(tmp_path), "m1")
    results.keep("job-1", report(boot="boot-0"))
    (tmp_path / "m1.x.result").write_text('{"path": 5}')
    (tmp_path / "m1.y.result").write_text("[")
    assert told(results, PlayedTransport(reply(500))) == ""
    assert list(tmp_path.iterdir()) == []


def test_results_of_another_machine_are_left_to_its_agent(tmp_path: Path) -> None:
    KeptResults(str(tmp_path), "m2").keep("job-1", report())
    told(KeptResults(str(tmp_path), "m1"), PlayedTransport(reply(500)))
    assert [path.name for path in tmp_path.iterdir()] == ["m2.job-1.result"]


def test_a_result_that_the_server_does_not_want_is_dropped(tmp_path: Path) -> None:
    results = KeptResults(str(tmp_path), "m1")
    results.keep("job-1", report())
    assert "does not take" in told(
        results, PlayedTransport(reply(404, {"code": "not-found", "detail": "there is no such job"}))
    )
    assert list(tmp_path.iterdir()) == []


def test_a_result_waits_for_a_token_that_is_accepted(tmp_path: Path) -> None:
    results = KeptResults(str(tmp_path), "m1")
    results.keep("job-1", report())
    assert "still kept" in told(results, PlayedTransport(reply(401, {"code": "unauthorized"})))
    assert len(list(tmp_path.iterdir())) == 1


def test_a_result_that_could_not_be_told_is_still_kept(tmp_path: Path) -> None:
    results = KeptResults(str(tmp_path), "m1")
    results.keep("job-1", report())
    try:
        told(results, PlayedTransport(Stopped("SIGTERM")))  # type: ignore[arg-type]
    except Stopped:
        assert len(list(tmp_path.iterdir())) == 1
    else:
        raise AssertionError("it was told to stop")


def test_where_nothing_can_be_kept_it_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "cannot keep it in" in KeptResults(str(tmp_path / "file"), "m1").keep("job-1", report())


def test_without_a_folder_nothing_is_kept() -> None:
    results = KeptResults("", "m1")
    assert results.keep("job-1", report()) == ""
    results.drop("job-1")
    assert told(results, PlayedTransport(reply(500))) == ""
