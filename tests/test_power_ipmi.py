"""The IPMI driver: every verb confirmed by reading back, and a clear error for each way a BMC can fail."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from provisioner.errors import (
    BmcLoginRefused,
    BmcRefused,
    BmcTimeout,
    BmcUnreachable,
    Conflict,
    Invalid,
    PowerError,
)
from provisioner.power.driver import Bmc, Outcome, PowerDriver, PowerState
from provisioner.power.ipmi import IpmiDriver, Patience
from provisioner.power.ipmi_lines import IpmiLines
from provisioner.power.ipmi_session import (
    Completed,
    LoginRefused,
    Lost,
    OutOfSessions,
    Session,
    Unsuitable,
)
from provisioner.power.presence import Presence, ask_presence
from tests.fakes.ipmi_session import CONTROL, GET_BOOT, STATUS, FakeBmc
from tests.fakes.ipmi_sim import IpmiSim, available, start
from tests.fakes.power import FakePower
from tests.fakes.udp import SilentProxy, black_hole
from tests.peers.programs import missing

BMC = Bmc("10.0.0.9", 623, "operator", "correct-horse")
OFF, ON, CYCLE, RESET, SOFT_OFF = 0, 1, 2, 3, 5
BUSY, TIMEOUT_IN_BMC, NO_SUCH_COMMAND, NOT_NOW = 0xC0, 0xC3, 0xC1, 0xD5


@dataclass
class Clock:
    """Time that passes only when somebody sleeps."""

    time: float = 0.0
    sleeps: list[float] = field(default_factory=list)

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.time += seconds


async def present(address: str, port: int) -> Presence:
    return Presence()


@dataclass
class Bench:
    """A driver on a BMC in memory, in a time of their own."""

    bmc: FakeBmc
    driver: IpmiDriver
    clock: Clock


@asynccontextmanager
async def bench(
    bmc: FakeBmc,
    ask: Callable[[str, int], Awaitable[Presence]] = present,
    log_in: Callable[[Bmc], Session] | None = None,
) -> AsyncIterator[Bench]:
    clock = Clock()
    driver = IpmiDriver(IpmiLines(log_in or bmc.log_in, ask, threads=2), sleep=clock.sleep, now=clock.now)
    try:
        yield Bench(bmc, driver, clock)
    finally:
        await driver.close()


# --- every verb, and what was read back -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("powered", "outcome"), [(True, (PowerState.ON, "is on")), (False, (PowerState.OFF, "is off"))]
)
async def test_status_tells_what_the_bmc_says(powered: bool, outcome: tuple[PowerState, str]) -> None:
    async with bench(FakeBmc(powered=powered)) as it:
        assert await it.driver.status(BMC) == Outcome(*outcome)


async def test_power_on_waits_until_the_bmc_says_on() -> None:
    async with bench(FakeBmc(takes_polls=5)) as it:
        assert await it.driver.power_on(BMC) == Outcome(PowerState.ON, "is on")
        assert len(it.clock.sleeps) == 5


async def test_polls_back_off_up_to_a_longest_pause() -> None:
    async with bench(FakeBmc(takes_polls=12)) as it:
        await it.driver.power_on(BMC)
        assert it.clock.sleeps == sorted(it.clock.sleeps)
        assert (it.clock.sleeps[0], it.clock.sleeps[-1]) == (0.25, 5.0)


async def test_power_on_of_a_machine_that_is_on_is_success_and_sends_nothing() -> None:
    async with bench(FakeBmc(powered=True)) as it:
        assert await it.driver.power_on(BMC) == Outcome(PowerState.ON, "was on already")
        assert it.bmc.controls == []


async def test_power_off_of_a_machine_that_is_off_is_success_and_sends_nothing() -> None:
    async with bench(FakeBmc()) as it:
        assert await it.driver.power_off(BMC) == Outcome(PowerState.OFF, "was off already")
        assert it.bmc.controls == []


async def test_power_off_is_hard_unless_told_to_be_soft() -> None:
    async with bench(FakeBmc(powered=True)) as it:
        assert await it.driver.power_off(BMC) == Outcome(PowerState.OFF, "is off")
        assert it.bmc.controls == [OFF]


async def test_a_soft_power_off_asks_the_operating_system_and_waits() -> None:
    async with bench(FakeBmc(powered=True, takes_polls=20)) as it:
        assert await it.driver.power_off(BMC, soft=True) == Outcome(PowerState.OFF, "is off")
        assert it.bmc.controls == [SOFT_OFF]


async def test_a_soft_power_off_that_is_ignored_ends_in_a_timeout_with_advice() -> None:
    async with bench(FakeBmc(powered=True, obeys_shutdown=False)) as it:
        with pytest.raises(BmcTimeout, match="not off within 180 s; its operating system may have ignored") as caught:
            await it.driver.power_off(BMC, soft=True)
        assert "10.0.0.9:623" in caught.value.message


async def test_a_cycle_is_done_by_the_bmc_and_seen_off_and_on() -> None:
    async with bench(FakeBmc(powered=True)) as it:
        assert await it.driver.cycle(BMC) == Outcome(PowerState.ON, "was power-cycled; is on")
        assert it.bmc.controls == [CYCLE]


async def test_a_cycle_is_not_believed_done_while_the_old_power_may_still_be_on() -> None:
    async with bench(FakeBmc(powered=True, takes_polls=3)) as it:
        await it.driver.cycle(BMC)
        assert len(it.clock.sleeps) > 3


async def test_a_cycle_too_short_to_be_seen_counts_after_a_while() -> None:
    async with bench(FakeBmc(powered=True, takes_polls=10**6)) as it:
        await it.driver.cycle(BMC)
        assert it.clock.time >= Patience().cycle_settle_seconds


async def test_a_cycle_of_a_machine_that_is_off_powers_it_on() -> None:
    async with bench(FakeBmc()) as it:
        assert await it.driver.cycle(BMC) == Outcome(PowerState.ON, "was off; is on")
        assert it.bmc.controls == [ON]


async def test_a_bmc_that_cannot_cycle_is_told_off_and_on() -> None:
    async with bench(FakeBmc(powered=True, refuses={(CONTROL, CYCLE): NO_SUCH_COMMAND})) as it:
        assert await it.driver.cycle(BMC) == Outcome(PowerState.ON, "was switched off and on again")
        assert it.bmc.controls == [OFF, ON]


async def test_a_reset_leaves_the_machine_on() -> None:
    async with bench(FakeBmc(powered=True)) as it:
        assert await it.driver.reset(BMC) == Outcome(PowerState.ON, "was reset; is on")
        assert it.bmc.controls == [RESET]


async def test_a_reset_of_a_machine_that_is_off_is_a_conflict() -> None:
    async with bench(FakeBmc()) as it:
        with pytest.raises(Conflict, match="it is off, so there is nothing to reset; power it on instead"):
            await it.driver.reset(BMC)
        assert it.bmc.controls == []


@pytest.mark.parametrize(
    ("device", "uefi", "persist", "message"),
    [
        ("pxe", False, False, "boots from the network next time; read back from its BMC"),
        ("disk", True, False, "boots from its disk next time; read back from its BMC"),
        ("disk", True, True, "boots from its disk from now on; read back from its BMC"),
    ],
)
async def test_the_next_boot_is_read_back(device, uefi, persist, message) -> None:
    async with bench(FakeBmc(powered=True)) as it:
        assert await it.driver.set_next_boot(BMC, device, uefi, persist) == Outcome(PowerState.ON, message)


async def test_a_next_boot_that_the_bmc_forgets_is_an_error() -> None:
    async with bench(FakeBmc(forgets_boot=True)) as it:
        with pytest.raises(BmcRefused, match="accepted to set the next boot to pxe, but shows 'no override'"):
            await it.driver.set_next_boot(BMC, "pxe", uefi=False)


async def test_a_next_boot_that_the_bmc_cannot_show_is_said_to_be_so() -> None:
    async with bench(FakeBmc(refuses={(GET_BOOT, 5): 0x80})) as it:
        outcome = await it.driver.set_next_boot(BMC, "pxe", uefi=False)
        assert outcome.message == "boots from the network next time; its BMC accepted that but cannot show it"


async def test_a_bmc_that_drops_the_wish_for_uefi_is_told_of() -> None:
    async with bench(FakeBmc()) as it:
        it.bmc.forgets_boot, it.bmc.boot_flags = True, bytes.fromhex("8004000000")
        outcome = await it.driver.set_next_boot(BMC, "pxe", uefi=True)
        assert "its BMC dropped the wish for UEFI" in outcome.message


async def test_an_unknown_boot_device_is_refused_with_those_there_are() -> None:
    async with bench(FakeBmc()) as it:
        with pytest.raises(Invalid, match="unknown boot device 'floppy'; there is: pxe, disk"):
            await it.driver.set_next_boot(BMC, "floppy", uefi=False)  # type: ignore[arg-type]


# --- what is repeated, and what is not ------------------------------------------------------------------------


async def test_a_busy_bmc_is_asked_again() -> None:
    async with bench(FakeBmc(faults=[Completed(BUSY, "node busy")] * 2)) as it:
        assert (await it.driver.status(BMC)).state is PowerState.OFF
        assert it.clock.sleeps == [0.5, 2.0]


async def test_a_bmc_that_stays_busy_is_an_error() -> None:
    async with bench(FakeBmc(refuses={(STATUS, 0): BUSY})) as it:
        with pytest.raises(BmcRefused, match="completion code 0xc0"):
            await it.driver.status(BMC)


async def test_a_lost_session_is_made_anew_for_a_harmless_request() -> None:
    async with bench(FakeBmc(faults=[Lost("gone")])) as it:
        assert (await it.driver.power_on(BMC)).state is PowerState.ON
        assert (it.bmc.logins, it.bmc.abandoned) == (2, 1)


async def test_a_power_on_whose_answer_was_lost_is_found_done() -> None:
    async with bench(FakeBmc(lost_after=[(CONTROL, ON)])) as it:
        assert await it.driver.power_on(BMC) == Outcome(PowerState.ON, "was on already")
        assert it.bmc.controls == [ON]


@pytest.mark.parametrize(("verb", "control"), [("cycle", CYCLE), ("reset", RESET)])
async def test_a_cycle_or_reset_whose_answer_was_lost_is_not_sent_twice(verb: str, control: int) -> None:
    async with bench(FakeBmc(powered=True, lost_after=[(CONTROL, control)])) as it:
        with pytest.raises(BmcTimeout, match="may have done it: look at the power state before trying again"):
            await getattr(it.driver, verb)(BMC)
        assert it.bmc.controls == [control]


async def test_a_cycle_that_a_busy_bmc_surely_did_not_do_is_sent_again() -> None:
    async with bench(FakeBmc(powered=True, faults=[Completed(BUSY, "node busy")])) as it:
        assert (await it.driver.cycle(BMC)).message == "was power-cycled; is on"


async def test_a_bmc_that_is_silent_while_power_changes_is_asked_again() -> None:
    async with bench(FakeBmc(silent_after_control=7)) as it:
        assert await it.driver.power_on(BMC) == Outcome(PowerState.ON, "is on")
        assert it.bmc.controls == [ON]


async def test_a_bmc_that_stays_silent_after_power_changed_is_a_timeout() -> None:
    async with bench(FakeBmc(silent_after_control=10**6)) as it:
        with pytest.raises(BmcTimeout, match="contact lost with the BMC"):
            await it.driver.power_on(BMC)


# --- a sentence for each fault --------------------------------------------------------------------------------


def refusing(fault: Exception) -> Callable[[Bmc], Session]:
    def log_in(bmc: Bmc) -> Session:
        raise fault

    return log_in


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        (
            LoginRefused("Incorrect password provided"),
            BmcLoginRefused,
            "login refused by the BMC at 10.0.0.9:623 for user 'operator' while trying to power on (Incorrect password "
            "provided); check power/username and power/password",
        ),
        (OutOfSessions("no slots"), BmcRefused, "no free session at the BMC at 10.0.0.9:623 while trying to power on"),
        (Lost("no answer during the login"), BmcTimeout, "contact lost with the BMC at 10.0.0.9:623"),
        (Unsuitable("no cipher suite"), BmcRefused, "the BMC at 10.0.0.9:623 refused to power on: no cipher suite"),
    ],
)
async def test_a_failed_login_says_what_to_check(fault: Exception, error: type[PowerError], words: str) -> None:
    async with bench(FakeBmc(), log_in=refusing(fault)) as it:
        with pytest.raises(error) as caught:
            await it.driver.power_on(BMC)
    assert type(caught.value) is error
    assert caught.value.message.startswith(words)
    assert caught.value.object == "10.0.0.9:623"


async def test_a_bmc_that_is_away_says_so() -> None:
    async def away(address: str, port: int) -> Presence:
        return Presence(absent="silence")

    async with bench(FakeBmc(), away) as it:
        with pytest.raises(BmcUnreachable) as caught:
            await it.driver.power_on(BMC)
    assert caught.value.message == (
        "no answer from a BMC at 10.0.0.9:623 while trying to power on (silence); check power/address and power/port, "
        "the BMC's cable, that IPMI over LAN is enabled in it, and that no firewall drops UDP"
    )


async def test_no_error_shows_the_password() -> None:
    async with bench(FakeBmc(), log_in=refusing(LoginRefused("no"))) as it:
        with pytest.raises(PowerError) as caught:
            await it.driver.status(BMC)
    assert BMC.password not in f"{caught.value!r} {caught.value.message}"


async def test_a_machine_that_does_not_come_on_is_a_timeout() -> None:
    async with bench(FakeBmc(takes_polls=10**6)) as it:
        with pytest.raises(BmcTimeout, match="accepted to power on, but the machine was not on within 60 s"):
            await it.driver.power_on(BMC)
        assert it.clock.time >= Patience().change_seconds


async def test_a_refusal_names_the_completion_code() -> None:
    async with bench(FakeBmc(refuses={(CONTROL, ON): NOT_NOW})) as it:
        with pytest.raises(BmcRefused, match=r"refused to power on: refused on order \(completion code 0xd5\)"):
            await it.driver.power_on(BMC)


@pytest.mark.parametrize(
    ("too_long", "path"),
    [({"username": "u" * 17}, "params.power/username"), ({"password": "é" * 11}, "params.power/password")],
)
async def test_credentials_that_ipmi_has_no_room_for_are_refused_before_asking(too_long, path) -> None:
    async with bench(FakeBmc()) as it:
        with pytest.raises(Invalid) as caught:
            await it.driver.status(replace(BMC, **too_long))
        assert [fault.path for fault in caught.value.fields] == [path]
        assert it.bmc.logins == 0


# --- a real BMC -----------------------------------------------------------------------------------------------


@pytest.fixture
def sim(tmp_path: Path) -> Iterator[IpmiSim]:
    if not available():
        missing("needs ipmi_sim (Debian package openipmi)")
    sim = start(tmp_path / "bmc")
    yield sim
    sim.stop()


# Little patience: the simulator does at once what it does.
QUICK = Patience(change_seconds=10.0, soft_off_seconds=0.3, cycle_settle_seconds=5.0, busy_pauses=(0.05,))


@asynccontextmanager
async def real_driver(exchange_seconds: float = 10.0) -> AsyncIterator[IpmiDriver]:
    driver = IpmiDriver(IpmiLines(exchange_seconds=exchange_seconds), QUICK)
    try:
        yield driver
    finally:
        await driver.close()


@pytest.mark.peer
async def test_a_real_bmc_is_switched_on_cycled_reset_and_off(sim: IpmiSim) -> None:
    async with real_driver() as driver:
        assert await driver.status(sim.bmc) == Outcome(PowerState.OFF, "is off")
        assert await driver.power_on(sim.bmc) == Outcome(PowerState.ON, "is on")
        assert sim.powered
        assert (await driver.cycle(sim.bmc)).message == "was power-cycled; is on"
        assert sim.powered
        assert (await driver.reset(sim.bmc)).state is PowerState.ON
        assert (await driver.power_off(sim.bmc)).state is PowerState.OFF
        assert not sim.powered
    switched = [call for call in sim.calls if call.startswith("set")]
    assert switched == ["set power 1", "set power 0", "set power 1", "set reset 1", "set power 0"]


@pytest.mark.peer
async def test_a_real_bmc_asks_the_operating_system_to_shut_down(sim: IpmiSim) -> None:
    sim.set("power", "1")
    async with real_driver() as driver:
        assert (await driver.power_off(sim.bmc, soft=True)).state is PowerState.OFF
    assert "set shutdown 1" in sim.calls


@pytest.mark.peer
async def test_a_machine_that_ignores_a_real_bmc_is_a_timeout_and_stays_on(sim: IpmiSim) -> None:
    sim.set("power", "1")
    sim.set("soft-off", "ignore")
    async with real_driver() as driver:
        with pytest.raises(BmcTimeout):
            await driver.power_off(sim.bmc, soft=True)
    assert sim.powered


@pytest.mark.peer
@pytest.mark.parametrize(("device", "shown"), [("pxe", "pxe"), ("disk", "default")])
async def test_the_next_boot_reaches_a_real_bmc(sim: IpmiSim, device, shown: str) -> None:
    async with real_driver() as driver:
        outcome = await driver.set_next_boot(sim.bmc, device, uefi=False)
    assert outcome.message.endswith("read back from its BMC")
    assert sim.boot == shown


@pytest.mark.peer
async def test_a_wrong_password_is_told_from_everything_else_and_changes_nothing(sim: IpmiSim) -> None:
    async with real_driver() as driver:
        with pytest.raises(BmcLoginRefused, match="Incorrect password"):
            await driver.power_on(replace(sim.bmc, password="wrong"))
        assert not sim.powered
        assert (await driver.power_on(sim.bmc)).state is PowerState.ON


@pytest.mark.peer
async def test_a_bmc_that_was_restarted_is_used_again(sim: IpmiSim) -> None:
    # Long enough for pyghmi's own timers to let go of the thread that hangs.
    async with real_driver(exchange_seconds=2.0) as driver:
        await driver.status(sim.bmc)
        sim.stop()
        with pytest.raises(BmcTimeout):
            await driver.status(sim.bmc)
        sim.restart()
        assert (await driver.status(sim.bmc)).state is PowerState.OFF
    sim.stop()


@pytest.mark.peer
async def test_a_bmc_that_was_switched_off_is_unreachable(sim: IpmiSim) -> None:
    sim.stop()
    async with real_driver() as driver:
        with pytest.raises(BmcUnreachable, match="nothing listens on that UDP port"):
            await driver.status(sim.bmc)


@pytest.mark.peer
async def test_many_callers_of_one_real_bmc_all_get_their_answer(sim: IpmiSim) -> None:
    async with real_driver() as driver:
        outcomes = await asyncio.gather(*(driver.status(sim.bmc) for _ in range(40)))
    assert {outcome.state for outcome in outcomes} == {PowerState.OFF}


async def test_a_bmc_that_swallows_everything_is_unreachable() -> None:
    async def ask(address: str, port: int) -> Presence:
        return await ask_presence(address, port, waits=(0.01, 0.01, 0.01))

    driver = IpmiDriver(IpmiLines(ask_presence=ask))
    with black_hole() as port, pytest.raises(BmcUnreachable, match="3 requests in 0.03 s stayed unanswered"):
        await driver.status(Bmc("127.0.0.1", port, "operator", "correct-horse"))
    await driver.close()


@pytest.mark.peer
async def test_a_bmc_that_falls_silent_after_the_login_is_a_timeout(sim: IpmiSim) -> None:
    with closing(SilentProxy(sim.port)) as proxy:
        # Long enough for the login on a busy host.
        async with real_driver(exchange_seconds=3) as driver:
            with pytest.raises(BmcTimeout, match="no timely answer from the BMC"):
                await driver.power_on(replace(sim.bmc, port=proxy.port))
        assert proxy.swallowed
    assert not sim.powered


@pytest.mark.peer
@pytest.mark.parametrize("verb", ["cycle", "reset"])
async def test_a_cycle_or_reset_that_takes_its_time_is_one_packet(sim: IpmiSim, verb: str) -> None:
    sim.set("power", "1")
    # pyghmi repeats other packets after a second at most.
    with closing(SilentProxy(sim.port, lets_through=2)) as proxy:
        async with real_driver(exchange_seconds=1.5) as driver:
            with pytest.raises(BmcTimeout):
                await getattr(driver, verb)(replace(sim.bmc, port=proxy.port))
            assert proxy.swallowed == 1


@pytest.mark.peer
async def test_the_event_loop_keeps_turning_while_twenty_bmcs_are_slow(sim: IpmiSim) -> None:
    turns = 0
    async with real_driver(exchange_seconds=1.0) as driver, AsyncExitStack() as stack:
        proxies = [stack.enter_context(closing(SilentProxy(sim.port))) for _ in range(20)]
        asked = asyncio.gather(
            *(driver.status(replace(sim.bmc, port=proxy.port)) for proxy in proxies), return_exceptions=True
        )
        while not asked.done():
            await asyncio.sleep(0)
            turns += 1
        results = await asked
    assert {type(result) for result in results} == {BmcTimeout}
    # A loop blocked by any of them would have turned a few times only.
    assert turns > 1000


# --- one contract for every driver ----------------------------------------------------------------------------


@pytest.fixture(params=["fake", pytest.param("ipmi", marks=pytest.mark.peer)])
async def any_driver(request: pytest.FixtureRequest) -> AsyncIterator[tuple[PowerDriver, Bmc]]:
    if request.param == "fake":
        yield FakePower(), BMC
        return
    simulator: IpmiSim = request.getfixturevalue("sim")
    async with real_driver() as driver:
        yield driver, simulator.bmc


async def test_every_driver_ends_in_the_state_that_was_asked_for(any_driver: tuple[PowerDriver, Bmc]) -> None:
    driver, bmc = any_driver
    for verb, state in [
        (driver.power_on, PowerState.ON),
        (driver.power_on, PowerState.ON),
        (driver.cycle, PowerState.ON),
        (driver.reset, PowerState.ON),
        (driver.power_off, PowerState.OFF),
        (driver.power_off, PowerState.OFF),
        (driver.cycle, PowerState.ON),
    ]:
        assert (await verb(bmc)).state is state
        assert (await driver.status(bmc)).state is state


async def test_every_driver_refuses_to_reset_what_is_off(any_driver: tuple[PowerDriver, Bmc]) -> None:
    driver, bmc = any_driver
    with pytest.raises(Conflict):
        await driver.reset(bmc)


async def test_every_driver_says_when_nothing_had_to_be_done(any_driver: tuple[PowerDriver, Bmc]) -> None:
    driver, bmc = any_driver
    assert (await driver.power_off(bmc)).message == "was off already"
