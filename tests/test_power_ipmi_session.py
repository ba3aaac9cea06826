"""One pyghmi session: what its words and codes are made into; with OpenIPMI's simulator where it has a say."""

import socket
from collections.abc import Iterator
from dataclasses import replace
from fcntl import F_DUPFD, fcntl
from pathlib import Path
from typing import Any

import pytest
from pyghmi.exceptions import IpmiException
from pyghmi.ipmi.private import session as pyghmi_session

from provisioner.power.ipmi_session import (
    Again,
    Completed,
    Fault,
    LoginRefused,
    Lost,
    OutOfSessions,
    Poll,
    PyghmiSession,
    Unsuitable,
    log_in,
    login_fault,
)
from tests.fakes.ipmi_sim import IpmiSim, available, start
from tests.peers.programs import missing

CHASSIS, STATUS = 0, 1


def test_sockets_beyond_the_thousandth_are_waited_for() -> None:
    near, far = socket.socketpair()
    with near, far, socket.socket(fileno=fcntl(near.fileno(), F_DUPFD, 1100)) as high:
        assert Poll.select([high], (), (), 0) == ([], [], [])
        far.send(b"!")
        assert Poll.select([high], (), (), 5) == ([high], [], [])


class Link:
    """What PyghmiSession needs of a pyghmi Command; `answer` is returned or raised."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.logged = 1
        self.logged_when_logged_out: list[tuple[int, tuple[object, ...]]] = []
        self.ipmi_session = self

    def raw_command(self, netfn: int, command: int, data: tuple[int, ...], timeout: float | None) -> dict[str, Any]:
        if isinstance(self.answer, Exception):
            raise self.answer
        answer: dict[str, Any] = self.answer
        return answer

    def logout(self, *arguments: object) -> None:
        self.logged_when_logged_out.append((self.logged, arguments))
        if isinstance(self.answer, Exception):
            raise self.answer


def fault_of(answer: Any) -> Fault:
    with pytest.raises(Fault) as caught:
        PyghmiSession(Link(answer)).command(CHASSIS, STATUS)
    return caught.value


def test_an_answer_is_its_data() -> None:
    assert PyghmiSession(Link({"code": 0, "data": bytearray(b"\x01\x00")})).command(CHASSIS, STATUS) == b"\x01\x00"


def test_a_completion_code_is_kept_with_its_words() -> None:
    fault = fault_of({"code": 0xD5, "data": b"", "error": "Command not supported in present state"})
    assert isinstance(fault, Completed)
    assert fault.code == 0xD5
    assert str(fault) == "Command not supported in present state (completion code 0xd5)"


@pytest.mark.parametrize(
    ("code", "again"),
    [(0xC0, Again.ALWAYS), (0xD2, Again.ALWAYS), (0xC3, Again.IF_HARMLESS), (0xD5, Again.NEVER), (0xFF, Again.NEVER)],
)
def test_the_completion_code_says_whether_to_repeat(code: int, again: Again) -> None:
    assert fault_of({"code": code, "data": b"", "error": "words"}).again is again


def test_pyghmis_own_timeout_code_means_lost() -> None:
    assert isinstance(fault_of({"code": 0xFFFF, "data": b"", "error": "timeout"}), Lost)
    assert isinstance(fault_of({"code": 0xFFFF, "error": "timeout"}), Lost)


@pytest.mark.parametrize(
    "error", [IpmiException("Session no longer connected"), IndexError("pop from empty"), OSError()]
)
def test_any_error_inside_pyghmi_means_lost(error: Exception) -> None:
    assert isinstance(fault_of(error), Lost)


def test_a_logout_that_fails_is_left_to_the_bmc() -> None:
    PyghmiSession(Link(IpmiException("Session no longer connected"))).logout()


def test_an_abandoned_session_waits_for_nothing_and_is_logged_out_by_nobody() -> None:
    link = Link({})
    PyghmiSession(link).abandon()
    assert link.logged == 0
    assert link.logged_when_logged_out == []


def test_a_lost_session_is_taken_out_of_pyghmis_tables_without_sending_anything() -> None:
    link = Link(IpmiException("Session no longer connected"))
    with pytest.raises(Lost):
        PyghmiSession(link).command(CHASSIS, STATUS)
    assert link.logged_when_logged_out == [(0, (False,))]


@pytest.mark.peer
def test_pyghmis_two_global_locks_are_one_after_a_login(sim: IpmiSim) -> None:
    log_in(sim.bmc).logout()
    assert pyghmi_session.WAITING_SESSIONS is pyghmi_session.KEEPALIVE_SESSIONS


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("Incorrect password provided", LoginRefused),
        ("Unauthorized name in RAKP2", LoginRefused),
        ("Unauthorized role or privilege level requested in RAKP2", LoginRefused),
        ("Invalid role in RAKP2", LoginRefused),
        ("Invalid integrity check value reported in RAKP4", LoginRefused),
        ("Invalid RAKP4 integrity code (wrong Kg?)", LoginRefused),
        ("User is not allowed requested privilege level while requesting privelege level 4 for b'x'", LoginRefused),
        ("Insufficient resources to create new session (wait for existing sessions to timeout)", OutOfSessions),
        ("Insufficient resources to create a session at the requested role", OutOfSessions),
        ("No slot available with requested privilege level", OutOfSessions),
        ("Session failed to initialize", Lost),
        ("timeout", Lost),
        ("None", Lost),
        ("", Lost),
        ("No Cipher suite match with proposed security algorithms", Unsuitable),
        ("Invalid authentication algorithm", Unsuitable),
    ],
)
def test_pyghmis_words_for_a_failed_login_are_told_apart(words: str, kind: type[Fault]) -> None:
    assert type(login_fault(IpmiException(words))) is kind


@pytest.fixture
def sim(tmp_path: Path) -> Iterator[IpmiSim]:
    if not available():
        missing("needs ipmi_sim (Debian package openipmi)")
    sim = start(tmp_path / "bmc", powered=True)
    yield sim
    sim.stop()


@pytest.mark.peer
def test_a_real_bmc_answers_in_a_session(sim: IpmiSim) -> None:
    session = log_in(sim.bmc)
    assert session.command(CHASSIS, STATUS)[0] & 1
    session.logout()


@pytest.mark.peer
@pytest.mark.parametrize(("field", "value"), [("password", "wrong"), ("username", "nobody")])
def test_a_real_bmc_refuses_a_wrong_login(sim: IpmiSim, field: str, value: str) -> None:
    with pytest.raises(LoginRefused):
        log_in(replace(sim.bmc, **{field: value}))


@pytest.mark.peer
def test_a_login_works_right_after_a_refused_one(sim: IpmiSim) -> None:
    with pytest.raises(LoginRefused):
        log_in(replace(sim.bmc, password="wrong"))
    session = log_in(sim.bmc)
    assert session.command(CHASSIS, STATUS)
    session.logout()


@pytest.mark.peer
def test_a_command_that_a_real_bmc_does_not_know_is_a_completion_code(sim: IpmiSim) -> None:
    session = log_in(sim.bmc)
    with pytest.raises(Completed) as caught:
        session.command(CHASSIS, 0x77)
    assert caught.value.code == 0xC1
    session.logout()


@pytest.mark.peer
def test_a_session_can_be_had_again_after_its_logout(sim: IpmiSim) -> None:
    for _ in range(3):
        session = log_in(sim.bmc)
        assert session.command(CHASSIS, STATUS)
        session.logout()
