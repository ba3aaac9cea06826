"""A job's log: each byte once and in order at the server, whatever happens on the way."""

import os
from collections.abc import Callable
from errno import EIO
from io import BytesIO
from threading import Event

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.clock import SystemClock
from agent.errors import Conflict, Missing, Refused, ServerAway
from agent.interrupt import Interrupt
from agent.logs import FLUSH_BYTES, FLUSH_SECONDS, JobLog, LogSender
from agent.spool import Place, Spool
from tests.fakes.agent_parts import FakeClock, no_jitter


class ServerLog:
    """The log at the server; `go_wrong` says what becomes of each request."""

    def __init__(self, log: bytes = b"", go_wrong: Callable[[], str] = lambda: "") -> None:
        self.log = log
        self._go_wrong = go_wrong
        self._late: list[tuple[int, bytes]] = []
        self.offsets: list[int] = []

    def append(self, offset: int, data: bytes) -> int:
        fault = self._go_wrong()
        self.offsets.append(offset)
        if fault == "late":  # it arrives, but after others that are sent later
            self._late.append((offset, data))
        if fault in ("drop", "late"):
            raise ServerAway(fault)
        size = self._put(offset, data[: len(data) // 2] if fault == "half" else data)
        for late in self._late:
            size = self._put(*late)
        if fault in ("lose", "half"):
            raise ServerAway(fault)
        return size

    def _put(self, offset: int, data: bytes) -> int:
        if offset > len(self.log):
            raise Conflict(409, "log-gap", "beyond the end", {"size": len(self.log)})
        self.log += data[len(self.log) - offset :]
        return len(self.log)


def job_log(server: ServerLog, clock: FakeClock | None = None, **spool: int) -> JobLog:
    return JobLog(server.append, Spool(len(server.log), Place(**spool)), clock or FakeClock(), no_jitter)


def deliver(log: JobLog) -> None:
    for _ in range(1000):
        if log.is_delivered:
            return
        log.send()
    raise AssertionError("never delivered")


def test_output_is_delivered_as_it_was_written() -> None:
    server = ServerLog()
    log = job_log(server)
    log.write(b"\x00\xff no newline")
    log.write(b" at the end")
    deliver(log)
    assert server.log == b"\x00\xff no newline at the end"


def test_a_resumed_job_goes_on_at_the_end_of_its_log() -> None:
    server = ServerLog(b"before\n")
    log = job_log(server)
    log.write(b"after\n")
    deliver(log)
    assert (server.log, server.offsets) == (b"before\nafter\n", [7])


def test_the_agents_own_lines_stand_on_lines_of_their_own() -> None:
    server = ServerLog()
    log = job_log(server)
    log.line("one\ntwo")
    log.write(b"unfinished")
    log.line("three")
    deliver(log)
    assert server.log == b"[agent] one\n[agent] two\nunfinished\n[agent] three\n"


FAULTS = st.sampled_from(["", "", "drop", "lose", "half", "late"])


@settings(deadline=None)
@given(st.lists(st.binary(max_size=50), max_size=20), st.lists(FAULTS, max_size=60), st.integers(1, 40))
def test_every_byte_arrives_exactly_once_over_a_lossy_server(
    pieces: list[bytes], faults: list[str], segment: int
) -> None:
    remaining = list(faults)
    server = ServerLog(go_wrong=lambda: remaining.pop() if remaining else "")
    log = job_log(server, segment_bytes=segment)
    for piece in pieces:
        log.write(piece)
        log.send()
    deliver(log)
    assert server.log == b"".join(pieces)


@settings(deadline=None)
@given(st.lists(st.tuples(st.binary(min_size=1, max_size=9), st.integers(0, 9)), max_size=20))
def test_a_server_that_lost_acknowledged_bytes_still_gets_all_later_ones(steps: list[tuple[bytes, int]]) -> None:
    server = ServerLog()
    log = job_log(server, segment_bytes=4)
    for piece, lost in steps:
        log.write(piece)
        deliver(log)
        assert server.log.endswith(piece)
        server.log = server.log[: max(0, len(server.log) - lost)]


def test_bytes_of_somebody_else_do_not_swallow_ours() -> None:
    server = ServerLog()
    log = job_log(server)
    log.write(b"mine\n")
    server.log = b"a longer line of somebody else\n"
    deliver(log)
    assert server.log == b"a longer line of somebody else\nmine\n"


# --- when it is sent


def test_bytes_may_wait_one_second() -> None:
    clock = FakeClock()
    log = job_log(ServerLog(), clock)
    assert log.due_seconds() == FLUSH_SECONDS
    log.write(b"x")
    clock.time += 0.25
    log.write(b"y")
    assert log.due_seconds() == 0.75
    clock.time += 5
    assert log.due_seconds() == 0


def test_sixty_four_kibibytes_are_sent_at_once() -> None:
    log = job_log(ServerLog())
    log.write(bytes(FLUSH_BYTES - 1))
    assert not log.urgent.is_set()
    log.write(b"x")
    assert log.urgent.is_set()
    assert log.due_seconds() == 0
    log.send()
    assert not log.urgent.is_set()


def test_failed_sends_pause_longer_and_longer() -> None:
    server = ServerLog(go_wrong=lambda: "drop")
    log = job_log(server)
    log.write(b"x")
    assert [log.send() for _ in range(4)] == [0.25, 0.5, 1.0, 2.0]


def test_a_server_may_say_how_long_to_stay_away() -> None:
    def away(offset: int, data: bytes) -> int:
        raise ServerAway("503", retry_after_seconds=9)

    log = JobLog(away, Spool(0), FakeClock(), no_jitter)
    log.write(b"x")
    assert log.send() == 9


def test_a_server_that_takes_nothing_is_not_asked_in_a_circle() -> None:
    log = JobLog(lambda offset, data: offset, Spool(0), FakeClock(), no_jitter)
    log.write(b"x")
    assert log.send() > 0


@pytest.mark.parametrize(
    "refusal", [Missing(404, "", "no job", {}), Conflict(409, "", "no size", {}), Refused(413, "", "", {})]
)
def test_a_log_that_the_server_refuses_is_given_up(refusal: Refused) -> None:
    def refuse(offset: int, data: bytes) -> int:
        raise refusal

    log = JobLog(refuse, Spool(0), FakeClock(), no_jitter)
    log.write(b"x")
    log.send()
    log.write(b"y")
    assert log.is_delivered
    assert log.refusal is refusal


def test_output_beyond_the_limit_is_dropped_and_the_log_says_how_much() -> None:
    away = True
    server = ServerLog(go_wrong=lambda: "drop" if away else "")
    log = job_log(server, limit_bytes=200, segment_bytes=50)
    log.write(b"x" * 199 + b"\n")
    log.write(b"lost\n")
    log.write(b"lost too\n")
    log.send()
    away = False
    deliver(log)
    log.write(b"again\n")
    deliver(log)
    note = b"[agent] 14 bytes of output were dropped: the server was away too long, the spool's 200 bytes are full\n"
    assert server.log == b"x" * 199 + b"\n" + note + b"again\n"


# --- the thread


def test_the_sender_delivers_everything_before_it_closes() -> None:
    clock = SystemClock(Interrupt())
    faults = iter(["drop", "lose", "half"])
    server = ServerLog(go_wrong=lambda: next(faults, ""))
    log = JobLog(server.append, Spool(0), clock, no_jitter)
    sender = LogSender(log, clock)
    sender.start()
    for number in range(100):
        log.write(b"%d\n" % number)
    sender.close(lambda: False)
    assert server.log == b"".join(b"%d\n" % number for number in range(100))


def test_the_sender_gives_up_when_told_to() -> None:
    clock = SystemClock(Interrupt())
    asked = Event()

    def away(offset: int, data: bytes) -> int:
        asked.set()
        raise ServerAway("away")

    log = JobLog(away, Spool(0), clock, no_jitter)
    sender = LogSender(log, clock)
    sender.start()
    log.write(b"x")
    sender.close(asked.is_set)
    assert not log.is_delivered


def test_a_log_that_was_cut_at_its_end_says_so_too() -> None:
    server = ServerLog()
    log = job_log(server, limit_bytes=150, segment_bytes=50)
    log.write(b"x" * 50)
    log.write(b"y" * 200)
    deliver(log)
    assert log.finish_gap()
    deliver(log)
    assert not log.finish_gap()
    why = "the server was away too long, the spool's 150 bytes are full"
    assert server.log.decode() == "x" * 50 + f"\n[agent] 200 bytes of output were dropped: {why}\n"
    assert log.missing == f"200 bytes of its log were lost: {why}"


def test_a_whole_log_misses_nothing() -> None:
    log = job_log(ServerLog())
    log.write(b"all of it")
    deliver(log)
    assert (log.missing, log.finish_gap()) == ("", False)


def test_what_cannot_be_read_back_is_passed_over_and_told_of() -> None:
    server = ServerLog()
    disks = [BytesIO(), BrokenDisk()]
    log = JobLog(server.append, Spool(0, Place(memory_bytes=0), lambda folder: disks.pop()), FakeClock(), no_jitter)
    log.write(b"lost")
    deliver(log)
    log.write(b"kept\n")
    deliver(log)
    why = "the spool cannot be read: Input/output error"
    assert log.missing == f"4 bytes of its log were lost: {why}"
    assert server.log.decode() == f"\n[agent] 4 bytes of output were dropped: {why}\nkept\n"


class BrokenDisk(BytesIO):
    def read(self, size: int | None = -1, /) -> bytes:
        raise OSError(EIO, os.strerror(EIO))
