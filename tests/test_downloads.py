"""Slots and the queue: in order, never more than the limit, and nobody blocks others for ever."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from provisioner.downloads import (
    DOUBTED_PART,
    FORGOTTEN_SECONDS,
    IDLE_SECONDS,
    MOST_DOUBTED,
    MOST_REMEMBERED,
    Downloads,
)

FILES = ("/files/k", "/files/i")


@pytest.fixture
def downloads() -> Downloads:
    return Downloads(2)


def fill(downloads: Downloads, *names: str, now: float = 0.0) -> list[int]:
    return [downloads.ask(name, FILES, now) for name in names]


def fetch(downloads: Downloads, who: str, path: str, now: float) -> None:
    number = downloads.begin(who, path, 10, now)
    downloads.end(number, now, whole=True)


def test_the_first_may_go_and_the_others_have_places_in_order(downloads: Downloads) -> None:
    assert fill(downloads, "a", "b", "c", "d") == [0, 0, 1, 2]
    assert [(each.who, each.place) for each in downloads.waiting(5.0)] == [("c", 1), ("d", 2)]


def test_without_a_limit_everybody_may_go() -> None:
    downloads = Downloads(0)
    assert fill(downloads, *map(str, range(100))) == [0] * 100 and downloads.waiting_count == 0


def test_without_a_limit_names_are_forgotten_when_there_are_too_many_but_not_of_those_who_fetch() -> None:
    downloads = Downloads(0)
    fill(downloads, "busy", "idle")
    downloads.begin("busy", FILES[0], 10, 0.0)
    for number in range(MOST_REMEMBERED + 5):
        assert downloads.ask(f"made-up-{number}", FILES, 0.0, f"10.0.{number >> 8}.{number & 255}") == 0
    assert downloads.running_count == MOST_REMEMBERED
    assert downloads.knows("busy") and not downloads.knows("idle") and downloads.who_is_at("10.0.0.0") == ""


def test_who_has_a_slot_may_ask_again_and_keeps_it(downloads: Downloads) -> None:
    assert fill(downloads, "a", "b", "a", "c", "a") == [0, 0, 0, 1, 0]


def test_the_last_wanted_file_frees_the_slot_for_the_first_in_the_queue(downloads: Downloads) -> None:
    fill(downloads, "a", "b", "c", "d")
    fetch(downloads, "a", FILES[0], 1.0)
    assert fill(downloads, "c", now=1.0) == [1]
    fetch(downloads, "a", FILES[1], 2.0)
    assert fill(downloads, "d", "c", "d", now=2.0) == [2, 0, 1]


def test_another_file_than_those_wanted_does_not_end_a_slot(downloads: Downloads) -> None:
    fill(downloads, "a", "b", "c")
    fetch(downloads, "a", "/files/other", 1.0)
    assert downloads.knows("a") and fill(downloads, "c", now=1.0) == [1]


def test_a_transfer_that_was_cut_off_keeps_the_slot_for_a_while(downloads: Downloads) -> None:
    fill(downloads, "a", "b", "c")
    number = downloads.begin("a", FILES[0], 10, 1.0)
    downloads.end(number, 2.0, whole=False)
    downloads.expire(2.0 + IDLE_SECONDS)
    assert downloads.knows("a")
    downloads.expire(2.1 + IDLE_SECONDS)
    assert not downloads.knows("a")


def test_a_slot_with_a_transfer_under_way_does_not_end_by_itself(downloads: Downloads) -> None:
    fill(downloads, "a")
    downloads.begin("a", FILES[0], 10, 1.0)
    downloads.expire(10_000.0)
    assert downloads.knows("a")


def test_a_transfer_that_waited_for_its_slot_keeps_it(downloads: Downloads) -> None:
    fill(downloads, "a", "b")
    number = downloads.begin("c", "/files/big", 10, 0.0)
    assert not downloads.may_go_on(number, 0.0)
    downloads.free("a")
    assert downloads.may_go_on(number, 1.0)
    downloads.expire(10_000.0)
    assert downloads.knows("c")
    downloads.end(number, 10_000.0, whole=True)
    assert not downloads.knows("c")


def test_a_slot_that_is_not_used_ends(downloads: Downloads) -> None:
    fill(downloads, "a", "b", "c")
    late = IDLE_SECONDS + 1
    for now in (20.0, 40.0, late):
        place = downloads.ask("c", FILES, now)
    assert place == 0 and not downloads.knows("a")


def test_a_machine_that_came_up_needs_no_slot_and_no_place(downloads: Downloads) -> None:
    fill(downloads, "a", "b", "c", "d")
    downloads.free("a")
    downloads.free("c")
    assert fill(downloads, "d") == [0] and downloads.waiting_count == 0


def test_who_does_not_ask_again_loses_its_place(downloads: Downloads) -> None:
    fill(downloads, "a", "b", "gone", "c")
    downloads.begin("a", FILES[0], 10, 0.0)
    downloads.begin("b", FILES[0], 10, 0.0)
    assert downloads.ask("c", FILES, FORGOTTEN_SECONDS) == 2
    assert downloads.ask("c", FILES, FORGOTTEN_SECONDS + 1) == 1


def test_the_first_in_the_queue_is_not_overtaken_while_it_sleeps(downloads: Downloads) -> None:
    fill(downloads, "a", "b", "c", "d")
    downloads.free("a")
    assert fill(downloads, "d", now=1.0) == [2]
    assert fill(downloads, "c", now=3.0) == [0]


def test_who_asked_from_an_address_is_who_fetches_from_it(downloads: Downloads) -> None:
    downloads.ask("52:54:00:00:00:01", FILES, 0.0, address="10.0.0.9")
    assert downloads.who_is_at("10.0.0.9") == "52:54:00:00:00:01" and downloads.who_is_at("10.0.0.8") == ""
    downloads.free("52:54:00:00:00:01")
    assert downloads.who_is_at("10.0.0.9") == ""


def test_who_only_waits_fetches_nothing(downloads: Downloads) -> None:
    fill(downloads, "a", "b")
    assert downloads.ask("c", FILES, 0.0, address="10.0.0.9") == 1 and downloads.who_is_at("10.0.0.9") == ""


def test_machines_behind_one_address_are_told_apart_by_what_they_still_want(downloads: Downloads) -> None:
    for who, files in (("a", ("/files/k",)), ("b", ("/files/k", "/files/i"))):
        downloads.ask(who, files, 0.0, address="10.0.0.9")
    assert downloads.who_is_at("10.0.0.9", "/files/i") == "b"
    fetch(downloads, downloads.who_is_at("10.0.0.9", "/files/k"), "/files/k", 1.0)
    assert not downloads.knows("a") and downloads.who_is_at("10.0.0.9", "/files/k") == "b"


def test_a_machine_that_comes_from_another_address_is_not_at_the_old_one(downloads: Downloads) -> None:
    downloads.ask("a", FILES, 0.0, address="10.0.0.9")
    downloads.ask("a", FILES, 1.0, address="10.0.0.8")
    assert (downloads.who_is_at("10.0.0.9"), downloads.who_is_at("10.0.0.8")) == ("", "a")


STRANGER = "10.0.0.66"


def ask_as(downloads: Downloads, *names: str, now: float = 0.0, address: str = STRANGER) -> list[int]:
    """One host asks in names that are not known to be its own."""
    return [downloads.ask(name, FILES, now, address, doubted=True) for name in names]


def test_a_machine_goes_before_all_whose_names_are_doubted() -> None:
    downloads = Downloads(8)
    fill(downloads, *map(str, range(8)))
    assert [ask_as(downloads, f"made-up-{n}", address=f"10.9.9.{n}") for n in range(3)] == [[1], [2], [3]]
    assert fill(downloads, "real", "other") == [1, 2]
    assert ask_as(downloads, "made-up-0", address="10.9.9.0") == [3]


def test_one_host_that_makes_up_twenty_thousand_names_has_few_places() -> None:
    downloads = Downloads(8)
    fill(downloads, *map(str, range(8)))
    places = ask_as(downloads, *(f"made-up-{n}" for n in range(20_000)))
    assert downloads.waiting_count == 8 // DOUBTED_PART and set(places) == {1, 2, 3}
    assert fill(downloads, "real") == [1]


def test_one_host_that_makes_up_names_has_few_slots_and_gets_more_when_these_are_free() -> None:
    downloads = Downloads(8)
    assert ask_as(downloads, "a", "b", "c") == [0, 0, 1]
    downloads.free("a")
    assert ask_as(downloads, "b", "c", "d") == [0, 0, 1] and downloads.running_count == 2


def test_a_name_that_is_doubted_stays_so_when_a_file_is_fetched_in_it() -> None:
    downloads = Downloads(8)
    for name in ("a", "b", "c"):
        ask_as(downloads, name)
        number = downloads.begin(downloads.who_is_at(STRANGER, FILES[0]), FILES[0], 10, 0.0)
        assert downloads.may_go_on(number, 0.0)
    assert downloads.running_count == 8 // DOUBTED_PART


def test_others_whose_names_are_doubted_have_places_of_their_own() -> None:
    downloads = Downloads(4)
    fill(downloads, *"abcd")
    assert [ask_as(downloads, f"at-{n}", address=f"10.0.0.{n}") for n in range(3)] == [[1], [2], [3]]


def test_only_so_many_doubted_ones_have_a_place() -> None:
    downloads = Downloads(1)
    fill(downloads, "a")
    for number in range(MOST_DOUBTED + 5):
        place = downloads.ask(f"x{number}", FILES, 0.0, f"10.{number >> 8}.{number & 255}.1", doubted=True)
    assert place == MOST_DOUBTED + 1 == downloads.waiting_count + 1


def test_a_name_that_proves_right_takes_its_place_among_the_others(downloads: Downloads) -> None:
    fill(downloads, "a", "b")
    assert ask_as(downloads, "c") == [1] and fill(downloads, "d", "c") == [1, 1]
    assert [each.who for each in downloads.waiting(0.0)] == ["c", "d"]
    assert ask_as(downloads, "e") == [3]


def test_a_slot_whose_name_proves_right_counts_no_more_for_the_host(downloads: Downloads) -> None:
    assert ask_as(downloads, "a") == [0] and fill(downloads, "a") == [0]
    assert ask_as(downloads, "b") == [0]


def test_nobody_takes_a_turn_in_the_name_of_another(downloads: Downloads) -> None:
    fill(downloads, "a", "b")
    downloads.ask("c", FILES, 0.0, "10.0.0.9")
    downloads.free("a")
    assert ask_as(downloads, "c") == [1] and not downloads.knows("c")
    assert downloads.ask("c", FILES, 0.0, "10.0.0.9") == 0
    ask_as(downloads, "c", now=1.0)
    assert downloads.who_is_at(STRANGER) == "" and downloads.who_is_at("10.0.0.9") == "c"


def test_a_place_is_not_kept_by_others_who_ask_in_its_name(downloads: Downloads) -> None:
    fill(downloads, "a", "b", "c")
    ask_as(downloads, "c", now=FORGOTTEN_SECONDS)
    downloads.expire(FORGOTTEN_SECONDS + 1)
    assert not downloads.is_waiting("c")


def test_whose_turn_is_near_is_to_ask_again_soon(downloads: Downloads) -> None:
    assert downloads.pause_seconds(1) == downloads.pause_seconds(2) < downloads.pause_seconds(3) < FORGOTTEN_SECONDS


def test_progress_is_shown_with_the_rate_of_the_last_seconds(downloads: Downloads) -> None:
    fill(downloads, "a", "b")
    number = downloads.begin("a", FILES[0], 1000, 0.0, start=100)
    downloads.progress(number, 100, 2.0)
    assert [(each.who, each.sent, each.rate) for each in downloads.running(2.0)] == [("a", 200, 50.0), ("b", 0, 0.0)]
    downloads.progress(number, 200, 5.0)
    downloads.progress(number, 800, 10.0)
    assert downloads.running(10.0)[0].rate == 120.0 and downloads.running(10.0)[0].seconds == 10.0


def test_a_transfer_without_a_slot_is_shown_and_takes_none(downloads: Downloads) -> None:
    number = downloads.begin("x", "/files/big", 10, 0.0)
    assert [each.who for each in downloads.running(1.0)] == ["x"] and downloads.running_count == 0
    downloads.end(number, 1.0, whole=True)
    assert downloads.running(1.0) == []


class Storm(RuleBasedStateMachine):
    """Machines that ask, fetch, hang up, come up and vanish in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.downloads = Downloads(3)
        self.now = 0.0
        self.open: list[int] = []

    @rule(who=st.integers(0, 12))
    def ask(self, who: int) -> None:
        before = [each.who for each in self.downloads.waiting(self.now)]
        place = self.downloads.ask(str(who), FILES, self.now)
        after = [each.who for each in self.downloads.waiting(self.now)]
        assert (place == 0) == self.downloads.knows(str(who))
        kept = [name for name in before if name in after]
        assert [name for name in after if name in kept] == kept

    @rule(who=st.integers(13, 30), host=st.integers(0, 2))
    def ask_in_a_name_that_is_made_up(self, who: int, host: int) -> None:
        place = self.downloads.ask(f"?{host}.{who}", FILES, self.now, f"10.0.0.{host}", doubted=True)
        assert place or self.downloads.knows(f"?{host}.{who}")

    @rule(who=st.integers(0, 12), path=st.sampled_from(FILES))
    def begin(self, who: int, path: str) -> None:
        if self.downloads.knows(str(who)):
            self.open.append(self.downloads.begin(str(who), path, 10, self.now))

    @rule(whole=st.booleans())
    def end(self, whole: bool) -> None:
        if self.open:
            self.downloads.end(self.open.pop(0), self.now, whole=whole)

    @rule(who=st.integers(0, 12))
    def hello(self, who: int) -> None:
        self.downloads.free(str(who))

    @rule(seconds=st.floats(0, 70))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def never_more_than_the_limit(self) -> None:
        assert self.downloads.running_count <= 3
        waiting = self.downloads.waiting(self.now)
        assert [each.place for each in waiting] == list(range(1, len(waiting) + 1))
        assert not any(self.downloads.knows(each.who) for each in waiting)
        assert sorted(each.who[0] == "?" for each in waiting) == [each.who[0] == "?" for each in waiting]
        known = [each.who for each in waiting] + [each.who for each in self.downloads.running(self.now)]
        assert all(len({who for who in known if who.startswith(f"?{host}.")} - self.busy()) <= 1 for host in range(3))

    def busy(self) -> set[str]:
        """Those with transfers, which are shown with a slot and without."""
        return {each.who for each in self.downloads.running(self.now) if each.path}

    def teardown(self) -> None:
        for number in self.open:
            self.downloads.end(number, self.now, whole=False)
        self.now += IDLE_SECONDS + 1
        assert self.downloads.ask("new", FILES, self.now) == 0


Storm.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
test_storm = Storm.TestCase


@given(st.integers(1, 20), st.integers(1, 60))
def test_a_storm_is_let_through_in_the_order_of_arrival(limit: int, count: int) -> None:
    downloads, now, order = Downloads(limit), 0.0, []
    waiting = [str(number) for number in range(count)]
    while waiting:
        gone = [who for who in waiting if downloads.ask(who, FILES[:1], now) == 0]
        assert 0 < len(gone) <= limit
        for who in gone:
            fetch(downloads, who, FILES[0], now)
            waiting.remove(who)
        order += gone
        now += 3
    assert order == [str(number) for number in range(count)] or limit >= count or sorted(order, key=int) == order
