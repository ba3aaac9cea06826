"""A session: what the loop decides is asked of the server, and what the server says decides what follows."""

from typing import Any

import pytest

from agent.errors import ServerAway, Stopped
from agent.exits import Ending
from agent.job_protocol import Holder, WorkOrder
from agent.loop import Outcome
from agent.messages import Reply
from agent.protocol import AgentFile, Kernel
from agent.session import Session, Talents
from tests.fakes.agent_parts import FakeClock, Notes, RoutedTransport, client, in_turn, reply

GREETING = {"boot_id": "b", "bootenv": "discovery"}
WORK = {
    "revision": 1,
    "runnable": True,
    "workflow": "w",
    "stage": "s",
    "bootenv": "discovery",
    "tasks": ["t"],
    "current_task": 1,
    "claimable": False,
    "reason": "",
}
ORDER = {"job": {"id": "j"}, "task": {"name": "t"}}


class PlayedRunner:
    """Ends jobs as written."""

    def __init__(self, *endings: Ending | None) -> None:
        self._endings = list(endings)
        self.orders: list[WorkOrder] = []

    def run(self, order: WorkOrder) -> Ending | None:
        self.orders.append(order)
        return self._endings.pop(0)


class Server:
    """Answers each kind of request with what was laid down for it, in turn; the last stays."""

    def __init__(self, **answers: Any) -> None:
        self._answers = {name: list(value) if isinstance(value, list) else [value] for name, value in answers.items()}
        self.transport = RoutedTransport(self._answer)

    def _answer(self, line: str, body: Any) -> Reply:
        kind = "work" if "/work" in line else line.rpartition("/")[2].replace("-", "_")
        answers = self._answers.get(kind, [reply(200, {})])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def asked(self) -> list[str]:
        return [line.replace("/api/v1", "").replace("/machines/m", "") for line, _ in self.transport.requests]


def session(
    server: Server, runner: Any = None, clock: Any = None, notes: Any = None, jitter: float = 0.0, **talents: Any
) -> Session:
    clock = clock or FakeClock()
    speaker = client(server.transport, clock, notes)
    keys = in_turn(f"key-{number}" for number in range(99))
    return Session(
        speaker,
        runner or PlayedRunner(),
        clock,
        "m",
        Holder("b", "i"),
        keys,
        notes or Notes(),
        lambda: jitter,
        Talents(**talents),
    )


def test_hello_comes_first_and_says_which_boot_this_is() -> None:
    server = Server()
    assert session(server).greet(GREETING)
    assert server.transport.requests == [("POST /api/v1/machines/m/hello", GREETING)]


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_server_that_does_not_know_us_ends_the_session(status: int) -> None:
    assert not session(Server(hello=reply(status, {"code": "no"}))).greet(GREETING)
    assert session(Server(jobs=reply(status, {"code": "no"}))).work("discovery") is Outcome.DENIED


def test_a_hello_that_the_server_does_not_like_does_not_end_the_session() -> None:
    assert session(Server(hello=reply(422, {"detail": "no arch"}))).greet(GREETING)


def test_a_job_is_run_and_the_next_one_claimed() -> None:
    server = Server(jobs=[reply(201, ORDER), reply(202, ORDER), reply(204)], work=reply(200, WORK))
    runner = PlayedRunner(Ending("finished", "complete"), Ending("finished", "stop"))
    assert session(server, runner).work("discovery") is Outcome.EXIT
    assert [order.job for order in runner.orders] == ["j", "j"]
    assert server.asked == ["POST /jobs", "POST /jobs"]


def test_a_reboot_is_prepared_by_the_server_first() -> None:
    notes = Notes()
    server = Server(jobs=reply(201, ORDER), prepare_reboot=reply(200, {"next_boot": "pxe", "message": "set"}))
    assert session(server, PlayedRunner(Ending("finished", "reboot")), notes=notes).work("discovery") is Outcome.REBOOT
    assert server.asked == ["POST /jobs", "POST /prepare-reboot"]
    assert "next boot: pxe set" in notes


@pytest.mark.parametrize("answer", [reply(409), reply(500), ServerAway("refused")])
def test_a_reboot_that_cannot_be_prepared_comes_all_the_same(answer: Any) -> None:
    server = Server(jobs=reply(201, ORDER), prepare_reboot=answer)
    assert session(server, PlayedRunner(Ending("finished", "reboot"))).work("discovery") is Outcome.REBOOT


def test_a_machine_that_is_held_is_waited_for_and_the_reason_is_told_once() -> None:
    notes = Notes()
    held = reply(200, {**WORK, "runnable": False, "reason": "held by an operator"})
    server = Server(
        jobs=reply(409, {"detail": "held"}), work=[held, held, held, reply(200, {**WORK, "bootenv": "local"})]
    )
    assert session(server, notes=notes).work("discovery") is Outcome.REBOOT
    assert server.asked[:4] == [
        "POST /jobs",
        "GET /work",
        "GET /work?revision=1&wait=80",
        "GET /work?revision=1&wait=80",
    ]
    assert [line for line in notes.lines if "held by" in line] == ["waiting: held by an operator"]


def test_done_without_a_workflow_the_change_stage_map_is_asked_and_obeyed() -> None:
    work = reply(200, {**WORK, "workflow": ""})
    server = Server(
        jobs=reply(204), work=work, next_stage=reply(200, {"stage": "s2", "action": "poweroff", "reason": ""})
    )
    assert session(server).work("discovery") is Outcome.POWEROFF
    assert server.asked == ["POST /jobs", "GET /work", "POST /next-stage"]


def test_a_step_that_the_server_refuses_is_waited_out() -> None:
    looks = [reply(200, {**WORK, "workflow": ""}), reply(200, {**WORK, "bootenv": "local"})]
    server = Server(jobs=reply(204), work=looks, next_stage=reply(409, {"detail": "tasks are left"}))
    assert session(server).work("discovery") is Outcome.REBOOT
    assert server.asked[3] == "GET /work?revision=1&wait=80"


@pytest.mark.parametrize("answer", [reply(422, {"detail": "?"}), reply(200, {"job": "nonsense"})])
def test_an_answer_that_makes_no_sense_is_rested_on_and_looked_at_again(answer: Reply) -> None:
    clock = FakeClock()
    server = Server(jobs=[answer, reply(204)], work=reply(200, {**WORK, "bootenv": "local"}))
    assert session(server, clock=clock).work("discovery") is Outcome.REBOOT
    assert clock.sleeps == [30.0]


def test_every_claim_has_a_key_of_its_own_and_all_its_tries_the_same() -> None:
    keys: list[str] = []

    class Keyed(RoutedTransport):
        def send(self, request: Any) -> Reply:
            if request.path.endswith("/jobs"):
                keys.append(request.headers["Idempotency-Key"])
            return super().send(request)

    answers = in_turn([reply(500), reply(500), reply(201, ORDER), reply(500), reply(201, ORDER)])
    clock = FakeClock()
    runner = PlayedRunner(Ending("finished", "complete"), Ending("finished", "stop"))
    numbers = in_turn(f"key-{number}" for number in range(9))
    speaker = client(Keyed(lambda line, body: answers()), clock)
    Session(speaker, runner, clock, "m", Holder("b", "i"), numbers, Notes()).work("discovery")
    assert keys == ["key-0", "key-0", "key-0", "key-1", "key-1"]


def test_told_to_stop_it_stops_before_the_next_step() -> None:
    class Stopping(FakeClock):
        def sleep(self, seconds: float) -> None:
            raise Stopped("told to stop")

    server = Server(jobs=reply(204))
    with pytest.raises(Stopped):
        session(server, clock=Stopping()).work("discovery")
    assert server.asked == []


def test_once_it_ends_when_there_is_nothing_to_do() -> None:
    server = Server(jobs=reply(204), work=reply(200, WORK))
    assert session(server).work("discovery", once=True) is Outcome.EXIT


def test_the_wait_is_longer_or_shorter_by_chance() -> None:
    looks = [reply(200, WORK), reply(200, {**WORK, "bootenv": "local"})]
    server = Server(jobs=reply(204), work=looks)
    session(server, jitter=0.99).work("discovery")
    assert server.asked[2] == "GET /work?revision=1&wait=105"


# --- what not every agent can

KEXEC = {"kernel": "http://s/k", "initrds": ["http://s/i"], "cmdline": "quiet"}
OFFER = {"version": "9.9", "sha256": "bb"}


class Talent:
    """Loads kernels and replaces agents, in so far as there is no reason against it."""

    current = AgentFile("0.1", "aa")

    def __init__(self, reason: str = "") -> None:
        self.reason = reason
        self.asked: list[Any] = []

    def load(self, kernel: Kernel) -> str:
        self.asked.append(kernel)
        return self.reason

    replace = load


@pytest.mark.parametrize(("reason", "outcome"), [("", Outcome.KEXEC), ("no memory", Outcome.REBOOT)])
def test_a_kernel_that_the_server_names_is_loaded_else_the_machine_reboots(reason: str, outcome: Outcome) -> None:
    server = Server(jobs=reply(201, ORDER), prepare_reboot=reply(200, {"next_boot": "none", "kexec": KEXEC}))
    loader, notes = Talent(reason), Notes()
    ended = session(server, PlayedRunner(Ending("finished", "reboot")), notes=notes, loader=loader).work("discovery")
    assert ended is outcome
    assert loader.asked == [Kernel("http://s/k", ("http://s/i",), "quiet")]
    assert server.transport.requests[-1] == ("POST /api/v1/machines/m/prepare-reboot", {"kexec": True})
    assert (not reason) or reason in notes


def test_without_the_program_no_kernel_is_asked_for() -> None:
    server = Server(jobs=reply(201, ORDER))
    session(server, PlayedRunner(Ending("finished", "reboot"))).work("discovery")
    assert server.transport.requests[-1][1] == {}


def test_a_kernel_that_makes_no_sense_is_an_ordinary_reboot() -> None:
    server = Server(jobs=reply(201, ORDER), prepare_reboot=reply(200, {"kexec": {"kernel": "k"}}))
    runner = PlayedRunner(Ending("finished", "reboot"))
    assert session(server, runner, loader=Talent()).work("discovery") is Outcome.REBOOT


def test_an_agent_that_the_answer_to_hello_offers_is_taken_over() -> None:
    server, replacer = Server(hello=reply(200, {"agent": OFFER})), Talent()
    made = session(server, replacer=replacer)
    made.greet(GREETING)
    assert made.work("local") is Outcome.UPDATED
    assert replacer.asked == [AgentFile("9.9", "bb")]
    assert server.asked == ["POST /hello"]


def test_an_agent_that_cannot_be_taken_over_is_told_of_once() -> None:
    work = {**WORK, "agent": OFFER}
    server = Server(jobs=reply(204), work=[reply(200, work)] * 5 + [reply(200, {**work, "bootenv": "local"})])
    replacer, notes = Talent("Read-only file system"), Notes()
    assert session(server, notes=notes, replacer=replacer).work("discovery") is Outcome.REBOOT
    assert len(replacer.asked) == 1
    assert [line for line in notes.lines if "Read-only" in line] == [
        "goes on with the agent as it is: Read-only file system"
    ]
