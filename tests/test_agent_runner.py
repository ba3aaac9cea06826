"""One task from work order to ending, with real scripts and a server that keeps what it is told."""

import os
import re
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from agent.clock import SystemClock
from agent.errors import Denied, ServerAway
from agent.exits import Ending
from agent.helpers import install
from agent.interrupt import Interrupt
from agent.job_protocol import Holder, WorkOrder, read_work_order
from agent.messages import Reply
from agent.render import Renderer
from agent.runner import Place, Runner
from agent.spool import Place as SpoolPlace
from tests.fakes.agent_parts import Notes, RoutedTransport, client, no_jitter, reply


class JobServer:
    """Keeps the log, the rendered files and the result of one job; `answers` replace usual replies, in turn."""

    def __init__(self, **answers: Any) -> None:
        self.log = b""
        self.actions: list[dict[str, Any]] = []
        self.result: dict[str, Any] = {}
        self.asked: list[str] = []
        self.beats: list[dict[str, Any]] = []
        self._answers = {name: list(value) if isinstance(value, list) else [value] for name, value in answers.items()}
        self.transport = RoutedTransport(self._answer)

    def _answer(self, line: str, body: Any) -> Reply:
        verb = re.sub(r"\?.*", "", line).rpartition("/")[2]
        self.asked.append(verb)
        if self._answers.get(verb):
            answer = self._answers[verb].pop(0)
            if isinstance(answer, Exception):
                raise answer
            if answer is not None:
                return answer
        return getattr(self, f"_{verb}")(line, body)

    def _start(self, line: str, body: Any) -> Reply:
        return reply(200, {"job": {}})

    def _actions(self, line: str, body: Any) -> Reply:
        self.actions = body
        return reply(204)

    def _log(self, line: str, body: bytes) -> Reply:
        offset = int(line.rpartition("=")[2])
        self.log += body[len(self.log) - offset :]
        return reply(200, {"size": len(self.log)})

    def _heartbeat(self, line: str, body: Any) -> Reply:
        self.beats.append(body)
        return reply(200, {"cancel": False, "state": "running"})

    def _result(self, line: str, body: Any) -> Reply:
        self.result = body
        return reply(200, {"job": {"state": body["state"]}})

    @property
    def output(self) -> str:
        """The log without the agent's own lines."""
        return "".join(line for line in self.log.decode().splitlines(True) if not line.startswith("[agent] "))


class Machine:
    """A runner on a machine whose temporary files lie in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.work = folder / "work"
        self.work.mkdir()
        self.notes = Notes()
        self.is_stopping = False
        install(str(folder / "bin"))

    def runner(
        self,
        server: JobServer,
        grace_seconds: float = 5.0,
        spool: SpoolPlace = SpoolPlace(),  # noqa: B008 (frozen)
    ) -> Runner:
        clock = SystemClock(Interrupt())
        bin_dir, work = str(self.folder / "bin"), str(self.work)
        place = Place("m", "http://server", "token", Holder("b", "i"), "/agent.pyz", bin_dir, work, spool)
        speaker = client(server.transport, clock, self.notes)
        self.last_runner = Runner(
            speaker, place, clock, Renderer(), no_jitter, self.notes, lambda: self.is_stopping, grace_seconds
        )
        return self.last_runner

    def run(self, server: JobServer, *files: Any, **order: Any) -> Ending | None:
        ending = self.runner(server).run(make_order(*files, **order))
        assert list(self.work.iterdir()) == [], "a task left its folder behind"
        return ending


def make_order(*files: Any, task: dict[str, Any] | None = None, **order: Any) -> WorkOrder:
    """An order; a file is a script's source, or a mapping with all of its fields."""
    return read_work_order(
        {
            "job": {"id": "j", "attempt": 2},
            "task": {"name": "t", **(task or {})},
            "files": [
                {"name": f"script-{number}", "source": file} if isinstance(file, str) else file
                for number, file in enumerate(files)
            ],
            **order,
        }
    )


def file(path: str, source: str, **more: str) -> dict[str, str]:
    return {"name": "file", "path": path, "source": source, **more}


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    yield Machine(tmp_path)


def test_a_task_is_started_shown_run_and_reported(machine: Machine) -> None:
    server = JobServer()
    ending = machine.run(server, "echo hello\n")
    assert ending == Ending("finished", "complete", 0)
    assert [verb for verb in server.asked if verb != "log"] == ["start", "actions", "result"]
    assert server.output == "hello\n"
    assert server.result == {
        "boot_id": "b",
        "instance": "i",
        "state": "finished",
        "exit_state": "complete",
        "exit_code": 0,
        "message": "",
        "runnable": True,
    }


def test_the_log_is_complete_before_the_result_is_reported(machine: Machine) -> None:
    server = JobServer(log=[ServerAway("away")] * 3)
    machine.run(server, "echo hello\n")
    assert server.asked[-2:] == ["log", "result"]
    assert server.log.endswith(b"hello\n[agent] finished\n")


def test_everything_is_rendered_before_anything_runs(machine: Machine) -> None:
    server = JobServer()
    ending = machine.run(server, "touch /nowhere; echo ran\n", "\n{{ nope }}")
    assert ending == Ending("failed", "failed", None, "template script-1 line 2: 'nope' is undefined")
    assert server.output == ""
    assert "actions" not in server.asked
    assert b"template script-1 line 2" in server.log


def test_an_undefined_name_in_an_included_template_is_named_with_that_template(machine: Machine) -> None:
    ending = machine.run(
        JobServer(), "{% include 'part' %}", templates={"part": "\n\n{{ machine.nope }}"}, context={"machine": {}}
    )
    assert ending is not None
    assert ending.message == "template part line 3: 'dict object' has no attribute 'nope'"


def test_a_file_whose_template_has_the_name_of_another_is_still_itself(machine: Machine) -> None:
    server = JobServer()
    inner = {"name": "x", "template": "x", "source": "echo outer; {% include 'x' %}"}
    machine.run(server, inner, templates={"x": "echo inner"})
    assert server.output == "outer\ninner\n"


def test_files_are_written_with_folders_and_modes_in_turn_with_scripts(machine: Machine) -> None:
    server = JobServer()
    absolute = machine.folder / "etc" / "deep" / "file"
    machine.run(
        server,
        "ls a 2>&1 || true\n",
        file("a/b", "{{ 1 + 1 }}\n", mode="0751"),
        file(str(absolute), "x"),
        "cat a/b; stat -c %a a/b\n",
    )
    assert server.output == "ls: cannot access 'a': No such file or directory\n2\n751\n"
    assert (absolute.read_text(), absolute.stat().st_mode & 0o777) == ("x", 0o644)


def test_a_path_is_a_template_too(machine: Machine) -> None:
    server = JobServer()
    machine.run(server, file("{{ machine.name }}.txt", "x"), "ls\n", context={"machine": {"name": "m1"}})
    assert "m1.txt\n" in server.output


@pytest.mark.parametrize("path", ["../outside", "a/../../outside"])
def test_a_relative_path_cannot_leave_the_tasks_folder(machine: Machine, path: str) -> None:
    ending = machine.run(JobServer(), file(path, "x"))
    assert ending is not None
    assert "leads out of the task's folder" in ending.message


def test_a_mode_that_is_not_octal_fails_the_task(machine: Machine) -> None:
    ending = machine.run(JobServer(), file("a", "x", mode="rwx"))
    assert ending == Ending("failed", "failed", None, "the mode 'rwx' of file is not octal, like 0755")


def test_a_file_that_cannot_be_written_fails_the_task(machine: Machine) -> None:
    (machine.folder / "plain").write_text("")
    ending = machine.run(JobServer(), file(f"{machine.folder}/plain/x", "x"))
    assert ending is not None
    assert (ending.state, "could not run it" in ending.message) == ("failed", True)


def test_the_folder_is_fresh_and_private(machine: Machine) -> None:
    server = JobServer()
    machine.run(server, "pwd; stat -c %a .; ls -A\n")
    folder, mode, *names = server.output.split()
    assert folder.startswith(str(machine.work / "task-"))
    assert (mode, names) == ("700", ["script-0"])


def test_scripts_see_where_and_for_whom_they_run(machine: Machine) -> None:
    server = JobServer()
    machine.run(
        server, "env | grep ^PROVISIONER_ | sort; echo $COLOUR; command -v provisioner-param\n", env={"COLOUR": "red"}
    )
    values = dict(line.split("=", 1) for line in server.output.splitlines() if line.startswith("PROVISIONER_"))
    assert values.pop("PROVISIONER_TASK_DIR").startswith(str(machine.work))
    assert values == {
        "PROVISIONER_URL": "http://server",
        "PROVISIONER_TOKEN": "token",
        "PROVISIONER_MACHINE": "m",
        "PROVISIONER_JOB": "j",
        "PROVISIONER_TASK": "t",
        "PROVISIONER_AGENT": "/agent.pyz",
    }
    assert server.output.splitlines()[-2:] == ["red", f"{machine.folder}/bin/provisioner-param"]


def test_an_interpreter_runs_a_script(machine: Machine) -> None:
    server = JobServer()
    machine.run(server, {"name": "py", "source": "print(6 * 7)", "interpreter": "python3 -I"})
    assert server.output == "42\n"


def test_an_interpreter_that_is_not_there_fails_the_task(machine: Machine) -> None:
    ending = machine.run(JobServer(), "#!/nowhere/perl\n")
    message = "cannot run script-0 by /nowhere/perl: No such file or directory"
    assert ending == Ending("failed", "failed", None, message)


def test_a_task_without_scripts_is_done_when_its_files_are_written(machine: Machine) -> None:
    path = machine.folder / "written"
    assert machine.run(JobServer(), file(str(path), "x")) == Ending("finished", "complete", 0)
    assert path.exists()


# --- several scripts


def test_a_failed_script_ends_the_task_and_is_named(machine: Machine) -> None:
    server = JobServer()
    assert machine.run(server, "exit 3", "echo no") == Ending("failed", "failed", 3, "script-0: exit code 3")
    assert server.output == ""


@pytest.mark.parametrize(
    ("first", "second", "state", "exit_state", "output"),
    [
        (0, 0, "finished", "complete", "1\n2\n"),
        (0, 64, "finished", "reboot", "1\n2\n"),
        (64, 0, "incomplete", "reboot", "1\n"),
        (16, 0, "incomplete", "stop", "1\n"),
        (32, 0, "incomplete", "poweroff", "1\n"),
        (128, 0, "finished", "complete", "1\n"),
        (0, 128, "incomplete", "incomplete", "1\n2\n"),
        (192, 0, "incomplete", "reboot", "1\n"),
        (0, 160, "incomplete", "poweroff", "1\n2\n"),
        (0, 144, "incomplete", "stop", "1\n2\n"),
    ],
)
def test_exit_codes_of_two_scripts(
    machine: Machine, first: int, second: int, state: str, exit_state: str, output: str
) -> None:
    server = JobServer()
    ending = machine.run(server, f"echo 1; exit {first}\n", f"echo 2; exit {second}\n")
    assert ending is not None
    assert (ending.state, ending.exit_state, server.output) == (state, exit_state, output)


def test_files_after_the_last_script_are_written_also_before_a_reboot(machine: Machine) -> None:
    path = machine.folder / "after"
    ending = machine.run(JobServer(), "exit 64", file(str(path), "x"))
    assert ending is not None
    assert (ending.state, ending.exit_state, path.exists()) == ("finished", "reboot", True)


def test_files_after_a_script_that_ends_the_task_are_not_written(machine: Machine) -> None:
    path = machine.folder / "after"
    machine.run(JobServer(), "exit 128", file(str(path), "x"), "true")
    assert not path.exists()


# --- being ended


def test_a_task_that_takes_too_long_fails(machine: Machine) -> None:
    ending = machine.run(JobServer(), "exec tail -f /dev/null", task={"timeout_seconds": 0.1})
    assert ending == Ending("failed", "failed", -15, "timed out after 0.1 s")


def test_the_timeout_is_of_the_task_not_of_each_script(machine: Machine) -> None:
    ending = machine.run(JobServer(), "true", "exec tail -f /dev/null", task={"timeout_seconds": 0.1})
    assert ending is not None
    assert ending.message == "timed out after 0.1 s"


def test_a_cancelled_job_is_ended_and_nothing_follows_from_it(machine: Machine) -> None:
    kept = reply(200, {"job": {"state": "cancelled"}})
    server = JobServer(heartbeat=reply(200, {"cancel": True, "state": "running"}), result=kept)
    ending = machine.run(server, "exec tail -f /dev/null", "echo no", task={"heartbeat_seconds": 0.1})
    assert ending is None
    assert b"[agent] cancelled: cancel was asked for\n" in server.log
    assert server.output == ""


def test_told_to_stop_the_job_is_incomplete(machine: Machine) -> None:
    server = JobServer()
    runner = machine.runner(server)

    def stop(line: str, body: bytes) -> Reply:
        if b"ready" in body:
            machine.is_stopping = True
            runner.interrupt("SIGTERM")
        return JobServer._log(server, line, body)

    server._log = stop  # type: ignore[method-assign]
    ending = runner.run(make_order("echo ready; exec tail -f /dev/null", "echo no"))
    assert ending == Ending("incomplete", "restart", -15, "the agent was stopped: SIGTERM")
    assert server.output == "ready\n"
    assert server.result["runnable"] is False


def test_told_to_stop_before_it_began_nothing_is_run(machine: Machine) -> None:
    machine.is_stopping = True
    server = JobServer()
    ending = machine.run(server, "echo no")
    assert ending is not None
    assert (ending.state, server.output) == ("incomplete", "")


def test_told_to_stop_while_the_server_is_away_it_does_not_wait_for_it(machine: Machine) -> None:
    machine.is_stopping = True

    class Gone(JobServer):
        def _log(self, line: str, body: Any) -> Reply:
            raise ServerAway("away")

        def _result(self, line: str, body: Any) -> Reply:
            raise ServerAway("away")

    clock = SystemClock(stop := Interrupt())
    stop.give("stopped", "SIGTERM")
    server = Gone()
    place = Place("m", "u", "t", Holder("b", "i"), "a", str(machine.folder / "bin"), str(machine.work))
    speaker = client(server.transport, clock, machine.notes)

    class Impatient(SystemClock):
        def now(self) -> float:
            return super().now() * 1000  # five seconds of patience pass in five milliseconds

    impatient = Impatient(stop)
    runner = Runner(speaker, place, impatient, Renderer(), no_jitter, machine.notes, lambda: True)
    assert runner.run(make_order("echo x")) is None


def test_a_server_that_does_not_know_the_word_restart_is_told_incomplete(machine: Machine) -> None:
    machine.is_stopping = True
    server = JobServer(result=[reply(422, {"detail": "exit_state: invalid"})])
    ending = machine.run(server, "echo no")
    assert ending is not None
    assert ending.exit_state == "restart"
    assert server.result["exit_state"] == "incomplete"


def test_another_result_that_the_server_does_not_understand_is_not_sent_again(machine: Machine) -> None:
    server = JobServer(result=reply(422, {"detail": "?"}))
    assert machine.run(server, "exit 1") is None
    assert server.asked.count("result") == 1


def test_a_script_says_in_words_why_it_failed(machine: Machine) -> None:
    server = JobServer()
    ending = machine.run(server, ". provisioner.sh; fail no disk is large enough; echo no")
    assert ending == Ending("failed", "failed", 1, "no disk is large enough")
    assert server.output == "no disk is large enough\n"


def test_words_of_a_script_that_did_not_fail_are_no_reason(machine: Machine) -> None:
    ending = machine.run(JobServer(), ". provisioner.sh; (fail it was nothing); exit 0")
    assert ending == Ending("finished", "complete", 0)


def test_a_script_in_python_finds_the_module(machine: Machine) -> None:
    source = "#!/usr/bin/env python3\nfrom provisioner_task import fail\nfail('said in Python')\n"
    assert machine.run(JobServer(), source) == Ending("failed", "failed", 1, "said in Python")


def test_a_grandchild_that_became_a_daemon_does_not_hold_the_job_open(machine: Machine) -> None:
    fifo = machine.folder / "fifo"
    os.mkfifo(fifo)
    source = f"setsid sh -c 'echo $$ > {fifo}; exec tail -f /dev/null' &\nread pid < {fifo}\necho $pid\n"
    server = JobServer()
    assert machine.run(server, source) == Ending("finished", "complete", 0)
    os.kill(int(server.output), signal.SIGKILL)  # it goes on after the job, as daemons do


def test_a_cancelled_script_that_ignores_term_is_killed_and_the_result_is_told(machine: Machine) -> None:
    server = JobServer(heartbeat=reply(200, {"cancel": True, "state": "running"}))
    runner = machine.runner(server, grace_seconds=0.2)
    source = "trap '' TERM; echo begun; while :; do sleep 1 & wait $!; done"
    ending = runner.run(make_order(source, task={"heartbeat_seconds": 0.1}))
    assert ending == Ending("failed", "failed", -9)
    assert server.result["exit_code"] == -9
    assert server.output == "begun\n"


def test_output_that_nobody_could_keep_is_told_with_the_result(machine: Machine) -> None:
    server = JobServer()
    runner = machine.runner(server, spool=SpoolPlace(limit_bytes=1000))
    ending = runner.run(make_order("head -c 100000 /dev/zero"))
    why = "the server was away too long, the spool's 1000 bytes are full"
    assert ending is not None
    assert (ending.state, ending.exit_code) == ("finished", 0)
    assert re.fullmatch(rf"\d+ bytes of its log were lost: {re.escape(why)}", ending.message)


def test_without_room_for_its_folder_the_job_fails_and_says_so(machine: Machine) -> None:
    server = JobServer()
    runner = machine.runner(server)
    machine.work.rmdir()
    ending = runner.run(make_order("echo no"))
    assert ending is not None
    assert ending.message == f"cannot make a folder for the task in {machine.work}: No such file or directory"
    assert server.result["state"] == "failed"


@pytest.mark.parametrize(
    ("said", "percent"), [("40", 40), ("33.9", 33), ("250", 100), ("-1", 0), ("nan", 0), ("x", None)]
)
def test_progress_is_a_whole_number_of_percent(machine: Machine, said: str, percent: int | None) -> None:
    server = JobServer()
    beats = machine.folder / "gate"
    os.mkfifo(beats)

    gates: list[int] = []

    def beat(line: str, body: Any) -> Reply:
        if gates:
            gate = gates.pop()
            os.write(gate, b"go\n")
            os.close(gate)
        else:
            # Until somebody reads there, the script may not have said it yet.
            with suppress(OSError):
                gates.append(os.open(beats, os.O_WRONLY | os.O_NONBLOCK))
        server.beats.append(body)
        return reply(200, {"cancel": False, "state": "running"})

    server._heartbeat = beat  # type: ignore[method-assign]
    source = f". provisioner.sh; progress {said}; read word < {beats}"
    machine.run(server, source, task={"heartbeat_seconds": 1})
    assert server.beats[-1].get("progress") == percent


# --- what the server may say


@pytest.mark.parametrize("status", [404, 409])
def test_a_job_that_is_not_ours_to_start_is_dropped(machine: Machine, status: int) -> None:
    server = JobServer(start=reply(status, {"code": "job-held", "detail": "somebody else holds it"}))
    assert machine.run(server, "echo no") is None
    assert server.asked == ["start"]
    assert "somebody else holds it" in machine.notes


def test_a_token_that_is_refused_at_the_start_is_the_sessions_business(machine: Machine) -> None:
    with pytest.raises(Denied):
        machine.run(JobServer(start=reply(401, {"code": "unauthorized"})), "echo no")


def test_rendered_files_that_the_server_refuses_do_not_keep_the_task_from_running(machine: Machine) -> None:
    server = JobServer(actions=reply(413, {"detail": "too large"}))
    assert machine.run(server, "echo hello") == Ending("finished", "complete", 0)
    assert b"[agent] the server does not take the rendered files: too large" in server.log


def test_what_was_rendered_is_shown_as_it_ran(machine: Machine, tmp_path: Path) -> None:
    server = JobServer()
    path = str(tmp_path / "here")
    machine.run(server, file(path, "a{{ 1 }}", mode="0600"), "true # {{ 2 }}")
    assert server.actions == [
        {"name": "file", "path": path, "content": "a1", "mode": "0600"},
        {"name": "script-1", "path": "", "content": "true # 2", "mode": ""},
    ]


def test_a_log_that_the_server_refuses_does_not_keep_the_task_from_ending(machine: Machine) -> None:
    server = JobServer(log=[reply(413, {"detail": "log too long"})])
    assert machine.run(server, "echo hello") == Ending("finished", "complete", 0)
    assert "does not take its log: log too long" in machine.notes


def test_a_result_that_is_refused_has_no_consequence(machine: Machine) -> None:
    assert machine.run(JobServer(result=reply(409, {"detail": "abandoned"})), "exit 64") is None
    assert "its result was not taken: abandoned" in machine.notes


def test_a_result_that_the_server_overrules_has_no_consequence(machine: Machine) -> None:
    assert machine.run(JobServer(result=reply(200, {"job": {"state": "abandoned"}})), "exit 64") is None


def test_the_result_is_reported_until_it_is_taken(machine: Machine) -> None:
    server = JobServer(result=[ServerAway("away"), reply(500)])
    assert machine.run(server, "true") == Ending("finished", "complete", 0)
    assert server.asked.count("result") == 3


def test_progress_that_a_script_tells_goes_with_the_heartbeat(machine: Machine) -> None:
    server = JobServer()
    gate = machine.folder / "gate"
    os.mkfifo(gate)

    def beat(line: str, body: Any) -> Reply:
        if body.get("progress") == 40:
            gate.write_text("go\n")
            server._heartbeat = lambda line, body: JobServer._heartbeat(server, line, body)  # type: ignore[method-assign]
        return reply(200, {"cancel": False, "state": "running"})

    server._heartbeat = beat  # type: ignore[method-assign]
    source = f". provisioner.sh; progress 40; read word < {gate}; echo $word"
    machine.run(server, source, task={"heartbeat_seconds": 0.1})
    assert server.output == "go\n"


def test_a_log_goes_on_where_the_resumed_job_had_ended(machine: Machine) -> None:
    server = JobServer()
    server.log = b"before\n"
    machine.run(server, "echo after", log_size=7)
    assert server.output == "before\nafter\n"
    assert b"[agent] task t goes on" in server.log


def test_the_token_is_in_no_representation_of_the_place(machine: Machine) -> None:
    assert "geheim" not in repr(Place("m", "u", "geheim", Holder("b", "i"), "a", "h"))


def test_a_device_keeps_its_mode(machine: Machine) -> None:
    master, terminal = os.openpty()
    try:
        before = os.fstat(terminal).st_mode
        assert before & 0o777 != 0o604
        machine.run(JobServer(), file(os.ttyname(terminal), "a", mode="0604"), "true")
        assert os.fstat(terminal).st_mode == before
    finally:
        os.close(master)
        os.close(terminal)
