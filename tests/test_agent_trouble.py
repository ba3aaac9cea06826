"""The real zipapp in trouble: servers away, disks full, jobs cancelled; and what it does to itself and its machine."""

import os
import resource
import signal
import zipfile
from hashlib import sha256
from pathlib import Path
from shutil import rmtree

import pytest

from agent.version import VERSION
from tests.fakes.agent_process import folder, run, start, zipapp
from tests.fakes.agent_server import MACHINE, FakeServer, script

PYTHON_WORDS = "python3 -c 'from provisioner_task import get_param; print(get_param(\"colour\"))'"

__all__ = ["folder", "zipapp"]


def test_a_job_is_done_while_the_server_is_away_from_its_start_to_its_end(zipapp: Path, folder: Path) -> None:
    gate, done = folder / "gate", folder / "done"
    os.mkfifo(gate)
    os.mkfifo(done)
    source = f"read word < {gate}\nseq 20000\necho over > {done}\n"
    with FakeServer([script("long", source)]) as server:
        agent = start(zipapp, folder, server, "--once")
        server.wait_for(lambda: server.jobs and server.jobs[0].actions)
        server.stop()
        gate.write_text("go\n")
        assert done.read_text() == "over\n"
        server.start()
        agent.end()
        gate.unlink()
        done.unlink()
        assert server.jobs[0].script_output.decode() == "".join(f"{number}\n" for number in range(1, 20001))
        assert server.jobs[0].state == "finished"


def test_output_that_waits_for_the_server_is_kept_in_a_folder_where_that_is_wished(
    zipapp: Path, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    gate, spool = folder / "gate", tmp_path_factory.mktemp("spool") / "below"
    os.mkfifo(gate)
    # The file has no name any more; the script sees it among what its agent has open.
    source = f"echo first\nread word < {gate}\nls -l /proc/$PPID/fd 2>/dev/null | grep -c {spool}\n"
    with FakeServer([script("t", source)]) as server:
        server.fault("PUT .*/log", "503", times=2)
        agent = start(zipapp, folder, server, "--once", "--spool-dir", str(spool), "--spool-mb", "1")
        server.wait_for(lambda: any(line.endswith("/log") for line in server.requests))
        gate.write_text("go\n")
        agent.end()
        gate.unlink()
        assert server.jobs[0].script_output == b"first\n1\n"
    assert list(spool.iterdir()) == []


def test_output_for_which_the_disk_has_no_room_is_told_of_where_people_look(
    zipapp: Path, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    spool = tmp_path_factory.mktemp("spool")

    def little_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    with FakeServer([script("chatty", "seq 100000\n")], bootenv="local") as server:
        server.fault("PUT .*/log", "503", times=3)
        console = run(zipapp, folder, server, "--once", "--spool-dir", str(spool), preexec_fn=little_room).end()
        job = server.jobs[0]
        assert (job.state, job.exit_code) == ("finished", 0)
        assert f"bytes of its log were lost: the spool in {spool} takes no more: File too large" in job.message
        assert b"bytes of output were dropped: the spool in" in job.log
    assert "bytes of its log were lost" in console


def test_a_work_dir_may_be_named_from_where_one_stands(zipapp: Path, folder: Path) -> None:
    with FakeServer([script("t", "echo done\n")], bootenv="local") as server:
        run(zipapp, folder, server, "--once", "--work-dir", ".", cwd=folder).end()
        assert (server.jobs[0].state, server.jobs[0].script_output) == ("finished", b"done\n")


def test_a_spool_that_cannot_be_is_told_of_at_once(zipapp: Path, folder: Path) -> None:
    (folder / "cmdline").write_text("x")
    with FakeServer([]) as server:
        agent = start(zipapp, folder, server, "--spool-dir", str(folder / "cmdline/x"))
        console = agent.process.communicate(timeout=60)[1]
        assert (agent.process.returncode, server.requests) == (1, [])
    assert "cannot keep output in" in console


def test_a_cancelled_job_gets_term_then_kill_and_its_result_and_log_are_kept(zipapp: Path, folder: Path) -> None:
    source = "trap 'echo cleaning up' TERM\n(trap '' TERM; exec tail -f /dev/null) &\necho $! begun\nwait\necho end\n"
    with FakeServer([script("t", source, heartbeat_seconds=0.3)]) as server:
        agent = start(zipapp, folder, server, "--once")
        server.wait_for(lambda: server.jobs and b"begun\n" in server.jobs[0].log)
        server.jobs[0].cancel = True
        agent.end()
        job = server.jobs[0]
        child = int(job.script_output.split()[0])
        assert b"cleaning up\n" in job.script_output
        assert (job.state, job.exit_code) == ("cancelled", 0)
        assert b"[agent] cancelled: cancel was asked for\n" in job.log
    assert not runs(child)


def test_a_proxy_that_has_lost_the_server_ends_no_job(zipapp: Path, folder: Path) -> None:
    gate = folder / "gate"
    os.mkfifo(gate)
    source = f"read word < {gate}\n{PYTHON_WORDS}\n"
    with FakeServer([script("t", source, heartbeat_seconds=0.3)]) as server:
        server.params = {"colour": "red"}
        server.fault("POST .*/(start|heartbeat|result)|PUT .*/(log|actions)|GET .*/params", "foreign", times=6)
        agent = start(zipapp, folder, server, "--once")
        server.wait_for(lambda: not any(fault.times for fault in server.faults))
        server.fault("POST .*/result|GET .*/params", "foreign", times=2)
        gate.write_text("go\n")
        agent.end()
        assert (server.jobs[0].state, server.jobs[0].exit_code) == ("finished", 0)
        assert server.jobs[0].script_output.splitlines()[-1] == b"red"
    gate.unlink()


def test_a_result_that_the_server_cannot_take_now_is_told_until_it_can(zipapp: Path, folder: Path) -> None:
    with FakeServer([script("t", "exit 3\n")]) as server:
        server.fault("POST .*/result", "503", times=2)
        server.fault("POST .*/result", "drop")
        server.fault("POST .*/result", "cut")
        start(zipapp, folder, server, "--once").end()
        assert (server.jobs[0].state, server.jobs[0].exit_code) == ("failed", 3)
        assert server.requests.count("POST /api/v1/jobs/job-1/result") == 5


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_result_outlives_its_agent_where_the_server_is_away(
    zipapp: Path, folder: Path, number: signal.Signals
) -> None:
    gate = folder / "gate"
    os.mkfifo(gate)
    with FakeServer([script("t", f"read word < {gate}\n")]) as server:
        first = start(zipapp, folder, server)
        server.wait_for(lambda: server.jobs and server.jobs[0].actions)
        server.fault("POST .*/result", "503", times=1000)
        gate.write_text("go\n")
        server.wait_for(lambda: "POST /api/v1/jobs/job-1/result" in server.requests)
        first.process.send_signal(number)
        console = first.process.communicate(timeout=60)[1]
        assert number is signal.SIGKILL or "the next agent will tell it" in console
        server.faults.clear()
        console = start(zipapp, folder, server, "--once").end()
        assert "told the server what an earlier agent could not" in console
        assert [job.state for job in server.jobs] == ["finished"]
    gate.unlink()
    for left in folder.glob("provisioner-*"):
        rmtree(left)


def runs(pid: int) -> bool:
    """Whether a process goes on; one that nobody has reaped yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


# --- another agent, another kernel


def newer(zipapp: Path, folder: Path) -> bytes:
    """The agent with another version."""
    path = folder / "newer.pyz"
    with zipfile.ZipFile(zipapp) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            target.writestr(name, data.replace(VERSION.encode(), b"9.9.9") if name == "agent/version.py" else data)
    data = path.read_bytes()
    path.unlink()
    return data


def test_an_installed_agent_becomes_the_servers_between_two_jobs(zipapp: Path, folder: Path) -> None:
    other = newer(zipapp, folder)
    mine = folder / "agent.pyz"
    mine.write_bytes(zipapp.read_bytes())
    gate = folder / "gate"
    os.mkfifo(gate)
    tasks = [script("first", f"read word < {gate}\n"), script("second", "echo $$\n")]
    with FakeServer(tasks, bootenv="local") as server:
        server.files["/agent.pyz"] = other
        agent = run(mine, folder, server)
        server.wait_for(lambda: server.jobs and server.jobs[0].state == "running")
        server.offer = {"version": "9.9.9", "sha256": sha256(other).hexdigest()}
        gate.write_text("go\n")
        server.wait_for(lambda: len(server.greetings) == 2)
        assert [greeting["version"] for greeting in server.greetings] == [VERSION, "9.9.9"]
        assert server.greetings[0]["instance"] != server.greetings[1]["instance"]
        assert [job.state for job in server.jobs] == ["finished", "finished"]
        agent.process.send_signal(signal.SIGTERM)
        assert "stops: SIGTERM" in agent.end()
    assert mine.read_bytes() == other
    for path in (mine, gate):
        path.unlink()


def test_an_agent_does_not_become_again_what_it_was(zipapp: Path, folder: Path) -> None:
    other, mine = newer(zipapp, folder), folder / "agent.pyz"
    mine.write_bytes(zipapp.read_bytes())
    # Between two servers with different agents it would go back and forth for ever.
    with FakeServer([], bootenv="local") as server:
        server.files["/agent.pyz"] = other
        server.offer = {"version": "9.9.9", "sha256": sha256(other).hexdigest()}
        agent = run(mine, folder, server)
        server.wait_for(lambda: len(server.greetings) == 2)
        looks = f"GET /api/v1/machines/{MACHINE}/work"
        server.wait_for(lambda: server.requests.count(looks) >= 2)
        server.offer = {"version": "10", "sha256": sha256(zipapp.read_bytes()).hexdigest()}
        seen = server.requests.count(looks)
        server.change(stage="stage-2")
        server.wait_for(lambda: server.requests.count(looks) > seen)
        agent.process.send_signal(signal.SIGTERM)
        agent.end()
        assert server.requests.count("GET /agent.pyz") == 1
    assert mine.read_bytes() == other
    mine.unlink()


def test_an_agent_that_does_not_start_changes_nothing(zipapp: Path, folder: Path) -> None:
    mine = folder / "agent.pyz"
    mine.write_bytes(zipapp.read_bytes())
    with FakeServer([script("only", "true\n")], bootenv="local") as server:
        server.files["/agent.pyz"] = b"PK\x05\x06 not an agent"
        server.offer = {"version": "9.9.9", "sha256": sha256(server.files["/agent.pyz"]).hexdigest()}
        agent = run(mine, folder, server)
        looks = f"GET /api/v1/machines/{MACHINE}/work"
        server.wait_for(lambda: server.requests.count(looks) >= 3)
        server.change(stage="stage-2")
        server.wait_for(lambda: server.requests.count(looks) >= 4)
        agent.process.send_signal(signal.SIGTERM)
        console = agent.end()
        assert server.requests.count("GET /agent.pyz") == 1
    assert console.count("goes on with the agent as it is: the server's agent does not run here") == 1
    assert mine.read_bytes() == zipapp.read_bytes()
    mine.unlink()


def test_the_next_kernel_is_loaded_where_the_server_names_one(
    zipapp: Path, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    tools = tmp_path_factory.mktemp("tools")
    (tools / "kexec").write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tools}/words\ncat "$2" > {tools}/kernel\n')
    (tools / "kexec").chmod(0o755)
    with FakeServer([script("t", ". provisioner.sh; exit_reboot\n")], bootenv="local") as server:
        server.files = {"/files/k": b"kernel", "/files/i": b"initrd"}
        server.kexec = {"kernel": f"{server.url}/files/k", "initrds": [f"{server.url}/files/i"], "cmdline": "a=b c"}
        agent = run(zipapp, folder, server, env={"PATH": f"{tools}:{os.environ['PATH']}"})
        assert "ends: kexec" in agent.end()
        assert "kexec" in server.greetings[0]["capabilities"]
    assert (tools / "kernel").read_text() == "kernel"
    assert "--command-line=a=b c" in (tools / "words").read_text().splitlines()


def test_where_no_kernel_can_be_loaded_it_reboots(
    zipapp: Path, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    tools = tmp_path_factory.mktemp("tools")
    (tools / "kexec").write_text("#!/bin/sh\necho kernel lockdown >&2\nexit 1\n")
    (tools / "kexec").chmod(0o755)
    with FakeServer([script("t", ". provisioner.sh; exit_reboot\n")], bootenv="local") as server:
        server.files = {"/files/k": b"kernel"}
        server.kexec = {"kernel": f"{server.url}/files/k", "initrds": [], "cmdline": ""}
        agent = run(zipapp, folder, server, env={"PATH": f"{tools}:{os.environ['PATH']}"})
        console = agent.end()
    assert "reboots by the firmware, the kernel cannot be started from here: kexec cannot load it" in console
    assert "ends: reboot" in console
