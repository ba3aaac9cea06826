"""One script from start to exit, as real processes. Where time matters, deadlines are short and nothing sleeps."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from agent.clock import SystemClock
from agent.interrupt import CANCELLED, STOPPED, Interrupt, readable
from agent.script import TIMED_OUT, Script, ScriptExit, command_line

ENV = {"PATH": os.environ["PATH"]}
FOR_EVER = "tail -f /dev/null"


class Ran:
    """Runs shell scripts in a folder and keeps what they write."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.interrupt = Interrupt()
        self.clock = SystemClock(Interrupt())
        self.output = b""
        self._on_output: dict[bytes, str] = {}

    def interrupt_on(self, output: bytes, reason: str) -> None:
        """Interrupt as soon as the script has written this."""
        self._on_output[output] = reason

    def _take(self, data: bytes) -> None:
        self.output += data
        for mark, reason in self._on_output.items():
            if mark in self.output:
                self.interrupt.give(reason, "by the test")

    def sh(self, source: str, seconds: float | None = None, grace: float = 10.0, drain: float = 1.0) -> ScriptExit:
        deadline = None if seconds is None else self.clock.now() + seconds
        script = Script(self._take, self.interrupt, self.clock, deadline, grace, drain)
        return script.run(["/bin/sh", "-c", source], str(self.folder), ENV)


@pytest.fixture
def ran(tmp_path: Path) -> Iterator[Ran]:
    ran = Ran(tmp_path)
    yield ran
    ran.interrupt.close()


def test_output_and_errors_come_in_the_order_they_were_written(ran: Ran) -> None:
    assert ran.sh("echo out; echo err >&2; printf '\\000\\377'; exit 3") == ScriptExit(3)
    assert ran.output == b"out\nerr\n\x00\xff"


def test_a_megabyte_of_output_is_not_cut_short(ran: Ran) -> None:
    ran.sh("head -c 1000000 /dev/zero | tr '\\0' x")
    assert ran.output == b"x" * 1_000_000


def test_it_runs_in_its_folder_with_its_environment_and_no_input(ran: Ran) -> None:
    ran.sh("pwd; cat; env | grep -c '^PATH='")
    assert ran.output == f"{ran.folder}\n1\n".encode()


def test_it_runs_in_a_process_group_of_its_own(ran: Ran) -> None:
    ran.sh("ps -o pgid= -p $$; echo $$")
    group, pid = ran.output.split()
    assert group == pid


def test_a_signal_is_a_negative_code(ran: Ran) -> None:
    assert ran.sh("kill -KILL $$") == ScriptExit(-signal.SIGKILL)


def test_a_script_that_ends_itself_by_term_failed_by_itself(ran: Ran) -> None:
    assert ran.sh("kill -TERM $$") == ScriptExit(-signal.SIGTERM)


def test_a_script_that_the_shutdown_ends_first_counts_as_stopped(ran: Ran) -> None:
    late = Thread(target=lambda: ran.interrupt.give(STOPPED, "shutdown"))
    script = Script(lambda data: late.start(), ran.interrupt, ran.clock)
    ended = script.run(["/bin/sh", "-c", "echo; kill -TERM $$"], str(ran.folder), ENV)
    late.join()
    assert ended.ended_for == STOPPED


def test_a_daemon_left_behind_does_not_hold_it_and_its_early_output_is_kept(ran: Ran) -> None:
    assert ran.sh(f"echo before; {FOR_EVER} & echo $! > daemon; echo after") == ScriptExit(0)
    assert ran.output == b"before\nafter\n"
    os.kill(int((ran.folder / "daemon").read_text()), signal.SIGKILL)  # it lives: this would raise otherwise


def test_a_daemon_that_writes_on_and_on_is_listened_to_for_a_bounded_time(ran: Ran) -> None:
    assert ran.sh("yes & echo $! > daemon", drain=0.05) == ScriptExit(0)
    os.kill(int((ran.folder / "daemon").read_text()), signal.SIGKILL)


def test_at_its_deadline_it_gets_term(ran: Ran) -> None:
    assert ran.sh(f"exec {FOR_EVER}", seconds=0.05) == ScriptExit(-signal.SIGTERM, TIMED_OUT)


def test_a_script_may_clean_up_on_term(ran: Ran) -> None:
    ran.interrupt_on(b"ready\n", CANCELLED)
    ended = ran.sh(f"trap 'echo cleaned; exit 7' TERM; echo ready; {FOR_EVER} & wait")
    assert (ended, ran.output) == (ScriptExit(7, CANCELLED), b"ready\ncleaned\n")


def test_what_ignores_term_is_killed_after_the_grace(ran: Ran) -> None:
    ran.interrupt_on(b"ready\n", CANCELLED)
    ended = ran.sh(f"trap '' TERM; echo ready; {FOR_EVER}", grace=0.05)
    assert ended == ScriptExit(-signal.SIGKILL, CANCELLED)


def test_children_that_ignore_term_go_with_the_script(ran: Ran) -> None:
    ran.interrupt_on(b"ready\n", CANCELLED)
    os.mkfifo(ran.folder / "held")
    held = os.open(ran.folder / "held", os.O_RDONLY | os.O_NONBLOCK)
    ran.sh(f"(trap '' TERM; exec 3> held; echo ready; {FOR_EVER}) & wait")
    assert readable([held], 10.0), "the child still holds the pipe"
    os.close(held)


def test_told_to_stop_before_it_starts_to_write_it_is_stopped(ran: Ran) -> None:
    ran.interrupt.give(STOPPED, "shutdown")
    assert ran.sh(f"exec {FOR_EVER}") == ScriptExit(-signal.SIGTERM, STOPPED)


def test_a_program_that_is_not_there_is_an_os_error_and_leaves_no_descriptor(ran: Ran) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError):
        Script(ran._take, ran.interrupt, ran.clock).run(["/nowhere/sh"], str(ran.folder), ENV)
    assert len(os.listdir("/proc/self/fd")) == before


def test_descriptors_are_closed_after_each_script(ran: Ran) -> None:
    ran.sh("true")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        ran.sh("true")
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_script_whose_output_nobody_takes_is_ended(ran: Ran) -> None:
    def refuse(data: bytes) -> None:
        raise OSError("no room")

    script = Script(refuse, ran.interrupt, ran.clock)
    with pytest.raises(OSError, match="no room"):
        script.run(["/bin/sh", "-c", f"echo $$ > pid; echo; exec {FOR_EVER}"], str(ran.folder), ENV)
    assert not Path(f"/proc/{(ran.folder / 'pid').read_text().strip()}").exists()


@pytest.mark.parametrize(
    ("source", "interpreter", "words"),
    [
        ("#!/bin/bash\nx", "", ["/bin/bash", "P"]),
        ("#!/bin/sh -eu\nx", "", ["/bin/sh", "-eu", "P"]),
        ("#! /usr/bin/env python3\nx", "", ["/usr/bin/env", "python3", "P"]),
        ("#!/usr/bin/awk -f one argument\nx", "", ["/usr/bin/awk", "-f one argument", "P"]),
        ("#!/bin/bash\r\nx", "", ["/bin/bash", "P"]),
        ("echo x", "", ["/bin/sh", "P"]),
        ("", "", ["/bin/sh", "P"]),
        ("#!\nx", "", ["/bin/sh", "P"]),
        ("#!/bin/bash\nx", "python3 -I", ["python3", "-I", "P"]),
    ],
)
def test_the_words_that_run_a_script(source: str, interpreter: str, words: list[str]) -> None:
    assert command_line(source, interpreter, "P") == words


def test_an_interpreter_is_found_on_the_path(ran: Ran) -> None:
    script = Script(ran._take, ran.interrupt, ran.clock)
    env = {"PATH": os.path.dirname(sys.executable)}
    script.run([os.path.basename(sys.executable), "-c", "print('found')"], str(ran.folder), env)
    assert ran.output == b"found\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="lowering a score needs root")
def test_a_script_is_not_protected_from_the_oom_killer_as_the_agent_may_be(ran: Ran) -> None:
    # A shell of its own stands for an agent that its unit protects.
    code = (
        "import os; from agent.script import _start; from agent.interrupt import readable\n"
        "open('/proc/self/oom_score_adj', 'w').write('-100')\n"
        "words = ['/bin/sh', '-c', 'read go < go; cat /proc/self/oom_score_adj']\n"
        "pipe, ended, process = _start(words, os.getcwd(), {})\n"
        "open('go', 'w').write('go\\n'); process.wait(); print(os.read(pipe, 99).decode())"
    )
    os.mkfifo(ran.folder / "go")
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    done = subprocess.run([sys.executable, "-c", code], cwd=ran.folder, env=env, capture_output=True, text=True)
    assert done.stdout.strip() == "0", done.stderr
