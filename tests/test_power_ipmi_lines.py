"""One line per BMC: turns, deadlines, sessions that are kept and given back, threads that hang."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from threading import Event, current_thread

import pytest

from provisioner.power.driver import Bmc
from provisioner.power.ipmi_lines import Engaged, IpmiLines, Late
from provisioner.power.ipmi_session import Absent, Completed, LoginRefused, Lost, Session, Unsuitable
from provisioner.power.presence import Presence

BMC = Bmc("10.0.0.9", 623, "operator", "correct horse")
# Longer than any test lives: what waits for it waits for something else.
NEVER = 3600.0
SOON = 0.05


@dataclass
class Peer:
    """A BMC as the lines see it; its logins may hang until `let_in` is set."""

    presence: Presence = Presence()
    login_fault: Exception | None = None
    let_in: Event = field(default_factory=Event)
    sessions: list["Peer.Session"] = field(default_factory=list)
    asked: int = 0

    @dataclass
    class Session:
        """Counts what is done to it; a hanging command comes back when it is abandoned."""

        released: Event = field(default_factory=Event)
        logouts: int = 0

        def command(self, netfn: int, command: int, data: object = (), first_wait: float | None = None) -> bytes:
            self.released.wait()
            raise Lost("abandoned")

        def logout(self) -> None:
            self.logouts += 1

        def abandon(self) -> None:
            self.released.set()

    async def ask(self, address: str, port: int) -> Presence:
        self.asked += 1
        return self.presence

    def log_in(self, bmc: Bmc) -> Session:
        self.let_in.wait()
        if self.login_fault:
            raise self.login_fault
        self.sessions.append(Peer.Session())
        return self.sessions[-1]


@asynccontextmanager
async def lines_to(
    peer: Peer, seconds: float = NEVER, idle: float = NEVER, threads: int = 4, let_in: bool = True
) -> AsyncIterator[IpmiLines]:
    lines = IpmiLines(peer.log_in, peer.ask, exchange_seconds=seconds, idle_seconds=idle, threads=threads)
    if let_in:
        peer.let_in.set()
    try:
        yield lines
    finally:
        peer.let_in.set()
        for session in peer.sessions:
            session.released.set()
        await lines.close()


def hang(session: Session) -> bytes:
    return session.command(0, 1)


def name_of_thread(session: Session) -> str:
    return current_thread().name


async def until(true: Callable[[], bool]) -> None:
    """Let the loop turn until something on another thread has happened; the test's own time limit ends it."""
    while not true():  # noqa: ASYNC110 - a thread cannot set an asyncio.Event
        await asyncio.sleep(0)


async def test_a_request_runs_on_a_thread_of_ours() -> None:
    async with lines_to(Peer()) as lines:
        assert (await lines.exchange(BMC, name_of_thread)).startswith("bmc")


async def test_one_session_serves_exchange_after_exchange() -> None:
    peer = Peer()
    async with lines_to(peer) as lines:
        await lines.exchange(BMC, name_of_thread)
        await lines.exchange(BMC, name_of_thread)
        assert (len(peer.sessions), peer.asked) == (1, 1)


async def test_another_password_gets_another_session() -> None:
    peer = Peer()
    async with lines_to(peer) as lines:
        await lines.exchange(BMC, name_of_thread)
        await lines.exchange(replace(BMC, password="another"), name_of_thread)
        assert [session.logouts for session in peer.sessions] == [1, 0]


async def test_an_idle_session_is_given_back() -> None:
    peer = Peer()
    async with lines_to(peer, idle=0.0) as lines:
        await lines.exchange(BMC, name_of_thread)
        await until(lambda: peer.sessions[0].logouts == 1)


async def test_close_gives_sessions_back() -> None:
    peer = Peer()
    async with lines_to(peer) as lines:
        await lines.exchange(BMC, name_of_thread)
    assert peer.sessions[0].logouts == 1


async def test_no_login_is_tried_at_a_bmc_that_is_away() -> None:
    peer = Peer(presence=Presence(absent="silence"))
    async with lines_to(peer) as lines:
        with pytest.raises(Absent, match="silence"):
            await lines.exchange(BMC, name_of_thread)
    assert peer.sessions == []


async def test_a_bmc_of_ipmi_1_5_is_unsuitable() -> None:
    async with lines_to(Peer(presence=Presence(speaks_ipmi_2=False))) as lines:
        with pytest.raises(Unsuitable, match="only IPMI 1.5"):
            await lines.exchange(BMC, name_of_thread)


async def test_a_question_that_hangs_means_away() -> None:
    async def silence(address: str, port: int) -> Presence:
        await asyncio.Event().wait()
        raise AssertionError

    lines = IpmiLines(Peer().log_in, silence, exchange_seconds=SOON)
    with pytest.raises(Absent):
        await lines.exchange(BMC, name_of_thread)
    await lines.close()


async def test_a_refused_login_leaves_the_line_free() -> None:
    peer = Peer(login_fault=LoginRefused("no"))
    async with lines_to(peer) as lines:
        for _ in range(2):
            with pytest.raises(LoginRefused):
                await lines.exchange(BMC, name_of_thread)


async def test_a_lost_session_is_made_anew_by_the_next_exchange() -> None:
    peer = Peer()

    def lose(session: Session) -> None:
        raise Lost("gone")

    async with lines_to(peer) as lines:
        with pytest.raises(Lost):
            await lines.exchange(BMC, lose)
        await lines.exchange(BMC, name_of_thread)
        assert [session.released.is_set() for session in peer.sessions] == [True, False]


async def test_a_refusal_keeps_the_session() -> None:
    peer = Peer()

    def refuse(session: Session) -> None:
        raise Completed(0xD5, "not now")

    async with lines_to(peer) as lines:
        with pytest.raises(Completed):
            await lines.exchange(BMC, refuse)
        await lines.exchange(BMC, name_of_thread)
        assert len(peer.sessions) == 1


async def test_requests_to_one_bmc_take_turns() -> None:
    running: list[int] = []

    def request(session: Session) -> int:
        running.append(len(running))
        alone = len(running) == 1
        running.pop()
        return alone

    async with lines_to(Peer()) as lines:
        assert all(await asyncio.gather(*(lines.exchange(BMC, request) for _ in range(50))))


async def test_requests_to_different_bmcs_run_at_once() -> None:
    first, second = Event(), Event()

    def meet(mine: Event, other: Event) -> Callable[[Session], bool]:
        def request(session: Session) -> bool:
            mine.set()
            return other.wait(30)

        return request

    async with lines_to(Peer()) as lines:
        met = await asyncio.gather(
            lines.exchange(BMC, meet(first, second)),
            lines.exchange(replace(BMC, address="10.0.0.10"), meet(second, first)),
        )
        assert met == [True, True]


async def test_a_request_that_hangs_is_late() -> None:
    async with lines_to(Peer(), seconds=SOON) as lines:
        with pytest.raises(Late, match="nothing came within 0.05 s"):
            await lines.exchange(BMC, hang)


async def test_a_thread_that_hangs_is_shaken_loose_and_the_line_is_free_again() -> None:
    peer = Peer()
    async with lines_to(peer, seconds=0.3) as lines:
        with pytest.raises(Late):
            await lines.exchange(BMC, hang)
        assert await lines.exchange(BMC, name_of_thread)
        assert len(peer.sessions) == 2


async def test_behind_a_login_that_hangs_the_next_one_gets_no_turn() -> None:
    async with lines_to(Peer(), seconds=SOON, let_in=False) as lines:
        with pytest.raises(Late):
            await lines.exchange(BMC, name_of_thread)
        with pytest.raises(Engaged, match="held the line"):
            await lines.exchange(BMC, name_of_thread)


async def test_a_login_that_comes_back_late_is_logged_out() -> None:
    peer = Peer()
    async with lines_to(peer, seconds=SOON, let_in=False) as lines:
        with pytest.raises(Late):
            await lines.exchange(BMC, name_of_thread)
        peer.let_in.set()
        await until(lambda: bool(peer.sessions) and peer.sessions[0].logouts == 1)


async def test_a_login_that_comes_back_after_the_end_is_left_to_the_bmc() -> None:
    peer = Peer()
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
    async with lines_to(peer, seconds=SOON, let_in=False) as lines:
        with pytest.raises(Late):
            await lines.exchange(BMC, name_of_thread)
        await lines.close()
        peer.let_in.set()
        await until(lambda: bool(peer.sessions) and not lines.open_lines)
    assert (told, peer.sessions[0].logouts) == ([], 0)


async def test_a_cancelled_caller_leaves_the_line_usable() -> None:
    peer = Peer()
    async with lines_to(peer) as lines:
        caller = asyncio.ensure_future(lines.exchange(BMC, hang))
        await until(lambda: bool(peer.sessions))
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        assert await lines.exchange(BMC, name_of_thread)


async def test_without_a_free_thread_the_fault_blames_ourselves() -> None:
    async with lines_to(Peer(), seconds=SOON, threads=1, let_in=False) as lines:
        results = await asyncio.gather(
            lines.exchange(BMC, name_of_thread),
            lines.exchange(replace(BMC, address="10.0.0.10"), name_of_thread),
            return_exceptions=True,
        )
    assert [str(result) for result in results] == [
        "nothing came within 0.05 s",
        "all our threads were waiting for other BMCs",
    ]


async def test_lines_without_a_session_are_forgotten() -> None:
    peer = Peer(presence=Presence(absent="silence"))
    async with lines_to(peer) as lines:
        for last in range(20):
            with pytest.raises(Absent):
                await lines.exchange(replace(BMC, address=f"10.0.0.{last}"), name_of_thread)
        assert lines.open_lines == 0


async def test_a_line_with_a_session_is_kept() -> None:
    async with lines_to(Peer()) as lines:
        await lines.exchange(BMC, name_of_thread)
        assert lines.open_lines == 1
