"""The real zipapp as a process, with nothing but the standard library around it, from registration to the end."""

import json
import os
import signal
import sys
from pathlib import Path

from tests.fakes.agent_process import Started, folder, start, zipapp
from tests.fakes.agent_server import MACHINE, TICKET, TOKEN, FakeServer, script, task

__all__ = ["folder", "zipapp"]


def test_a_netbooted_machine_registers_works_and_reboots_into_its_next_environment(zipapp: Path, folder: Path) -> None:
    first = task(
        "first",
        [
            {"name": "settings", "path": "etc/settings", "source": "name={{ machine.name }}\n", "mode": "0640"},
            {"name": "show", "path": "", "source": "#!/bin/sh\ncat etc/settings\nstat -c %a etc/settings\n"},
            {"name": "py", "path": "", "source": "print('from python')\n", "interpreter": sys.executable},
        ],
    )
    params = script("params", ". provisioner.sh\nget_param colour\nset_param size/x '{\"a\": 1}'\nprogress 40\n")
    with FakeServer([first, params, "bootenv:local"]) as server:
        server.params["colour"] = "{{ red }}"
        console = start(zipapp, folder, server).end()
        assert [job.state for job in server.jobs] == ["finished", "finished"]
        assert server.jobs[0].script_output == b"name=m1\n640\nfrom python\n"
        assert server.jobs[1].script_output == b"{{ red }}\n"
        assert server.params["size/x"] == {"a": 1}
        assert [action["name"] for action in server.jobs[0].actions] == ["settings", "show", "py"]
        assert server.jobs[0].actions[0]["content"] == "name=m1\n"
        assert server.registered[0]["macs"][0] == "52:54:00:aa:bb:cc"
        assert server.greetings[0]["bootenv"] == "discovery"
        assert set(server.inventories[0]) >= {"cpu", "memory", "disks", "nics", "dmi", "boot", "os"}
        assert server.reboots_prepared == 1
    assert "ends: reboot" in console
    assert TOKEN not in console
    assert TICKET not in console


def test_an_installed_machine_works_by_its_config_until_there_is_nothing_to_do(zipapp: Path, folder: Path) -> None:
    with FakeServer([script("only", "echo $PROVISIONER_MACHINE $PROVISIONER_TASK\n")], bootenv="local") as server:
        settings = {"url": server.url, "machine": MACHINE, "token": TOKEN, "bootenv": "local"}
        (folder / "agent.json").write_text(json.dumps(settings))
        Started(zipapp, folder, "run", "--config", str(folder / "agent.json"), "--once").end()
        assert server.jobs[0].script_output == f"{MACHINE} only\n".encode()
        assert not server.registered


def test_every_reply_may_be_lost_once_and_the_work_is_done_once(zipapp: Path, folder: Path) -> None:
    with FakeServer([script("count", "echo one; echo two\n"), script("next", "exit 0\n")]) as server:
        for request in ("register", "hello", "inventory", "jobs$", "start", "actions", "log", "result"):
            server.fault(f"(POST|PUT) .*{request}", "lose")
        start(zipapp, folder, server, "--once").end()
        assert [job.state for job in server.jobs] == ["finished", "finished"]
        assert server.jobs[0].script_output == b"one\ntwo\n"


def test_a_server_restart_is_invisible_to_a_running_job(zipapp: Path, folder: Path) -> None:
    gate = folder / "gate"
    os.mkfifo(gate)
    source = f"echo before\nread word < {gate}\necho after\n"
    with FakeServer([script("long", source)]) as server:
        agent = start(zipapp, folder, server, "--once")
        server.wait_for(lambda: server.jobs and b"before\n" in server.jobs[0].log)
        server.stop()
        gate.write_text("go\n")
        server.start()
        agent.end()
        gate.unlink()
        assert server.jobs[0].script_output == b"before\nafter\n"
        assert server.jobs[0].state == "finished"


def test_no_byte_is_lost_or_doubled_when_the_server_goes_away_again_and_again(zipapp: Path, folder: Path) -> None:
    # One for each round: at a gate that the test is still closing the second round would not wait.
    gates = [folder / "gate-1", folder / "gate-2"]
    for gate in gates:
        os.mkfifo(gate)
    source = f'for round in 1 2; do read word < {folder}/gate-$round; seq -f "$round line %.0f" 5000; done\n'
    with FakeServer([script("chatty", source)]) as server:
        agent = start(zipapp, folder, server, "--once")
        server.wait_for(lambda: server.jobs and server.jobs[0].log)
        for number, gate in enumerate(gates, 1):
            server.stop()
            gate.write_text("go\n")
            server.fault("log", "lose")
            server.start()
            server.wait_for(lambda mark=f"{number} line 5000\n".encode(): mark in server.jobs[0].log)
        agent.end()
        for gate in gates:
            gate.unlink()
        expected = "".join(f"{number} line {line}\n" for number in (1, 2) for line in range(1, 5001))
        assert server.jobs[0].script_output.decode() == expected


def test_told_to_stop_in_the_middle_of_a_script_the_job_is_incomplete(zipapp: Path, folder: Path) -> None:
    with FakeServer([script("endless", "echo begun\nexec tail -f /dev/null\n")]) as server:
        agent = start(zipapp, folder, server)
        server.wait_for(lambda: server.jobs and b"begun\n" in server.jobs[0].log)
        agent.process.send_signal(signal.SIGTERM)
        assert "stops: SIGTERM" in agent.end()
        assert (server.jobs[0].state, server.jobs[0].exit_state) == ("incomplete", "restart")


def test_told_to_stop_while_it_waits_for_work_it_stops_at_once(zipapp: Path, folder: Path) -> None:
    with FakeServer([]) as server:
        agent = start(zipapp, folder, server)
        server.wait_for(lambda: server.requests.count(f"GET /api/v1/machines/{MACHINE}/work") >= 2)
        agent.process.send_signal(signal.SIGTERM)
        assert "stops: SIGTERM" in agent.end()


def test_a_second_start_in_the_same_boot_needs_no_ticket(zipapp: Path, folder: Path) -> None:
    with FakeServer([]) as server:
        start(zipapp, folder, server, "--once").end()
        start(zipapp, folder, server, "--once", ticket="used").end()
        assert len(server.registered) == 1
        assert (folder / "state.json").stat().st_mode & 0o777 == 0o600
