"""The order of things in a turn of the event loop, on real sockets."""

from __future__ import annotations

import asyncio
import socket
from contextlib import ExitStack
from selectors import EVENT_READ, EVENT_WRITE

import pytest

from provisioner.fair_loop import FairLoop, FairSelector, prefer


@pytest.fixture
def pairs():
    """Connected sockets: what is written to the one can be read from the other."""
    with ExitStack() as undo:
        made = [socket.socketpair() for _ in range(8)]
        for sock in (each for pair in made for each in pair):
            sock.setblocking(False)
            undo.callback(sock.close)
        yield made


@pytest.fixture
def selector():
    made = FairSelector(at_once=3, alone=2)
    yield made
    made.close()


def ready(selector):
    return [key.data for key, _ in selector.select(0)]


def register_all(selector, pairs):
    for number, (here, there) in enumerate(pairs):
        selector.register(here, EVENT_READ, number)
        there.send(b"x")


def test_one_turn_has_a_few_and_the_others_come_next(selector, pairs):
    register_all(selector, pairs)
    turns = [ready(selector) for _ in range(3)]
    assert [len(each) for each in turns] == [3, 3, 3]
    assert {number for each in turns for number in each} == set(range(8))


def test_what_is_preferred_has_turns_of_its_own_and_then_comes_first(selector, pairs):
    register_all(selector, pairs)
    selector.prefer(pairs[5][0])
    turns = [ready(selector) for _ in range(6)]
    assert [each[0] for each in turns] == [5] * 6
    assert [len(each) > 1 for each in turns] == [False, False, True, False, False, True]


def test_when_nothing_preferred_is_ready_the_others_have_their_turn_at_once(selector, pairs):
    register_all(selector, pairs)
    selector.prefer(pairs[5][0])
    ready(selector)
    pairs[5][0].recv(1)
    assert len(ready(selector)) == 3


def test_what_is_preferred_before_it_is_registered_is_first_too(selector, pairs):
    selector.prefer(pairs[7][0])
    register_all(selector, pairs)
    assert ready(selector)[0] == 7


def test_whoever_waits_wakes_up_for_what_is_preferred(selector, pairs):
    here, there = pairs[0]
    selector.prefer(here)
    selector.register(here, EVENT_READ, "urgent")
    there.send(b"x")
    assert [key.data for key, _ in selector.select(None)] == ["urgent"]


def test_a_descriptor_that_was_unregistered_is_preferred_no_more(selector, pairs):
    selector.prefer(pairs[5][0])
    selector.register(pairs[5][0], EVENT_READ)
    selector.unregister(pairs[5][0])
    register_all(selector, pairs)
    assert [ready(selector)[0] for _ in range(3)] != [5, 5, 5]


def test_only_what_was_asked_for_is_told(selector, pairs):
    here, there = pairs[0]
    selector.register(here, EVENT_WRITE)
    there.send(b"x")
    assert [events for _, events in selector.select(0)] == [EVENT_WRITE]
    selector.modify(here, EVENT_READ | EVENT_WRITE, "both")
    assert [(key.data, events) for key, events in selector.select(0)] == [("both", EVENT_READ | EVENT_WRITE)]


def test_whoever_reads_hears_of_a_hang_up(selector, pairs):
    here, there = pairs[0]
    selector.register(here, EVENT_READ)
    there.close()
    assert [events for _, events in selector.select(0)] == [EVENT_READ]


def test_a_socket_that_was_closed_can_be_unregistered(selector, pairs):
    here, _ = pairs[0]
    selector.register(here, EVENT_READ, "gone")
    here.close()
    assert selector.unregister(here).data == "gone"
    assert ready(selector) == []


@pytest.mark.parametrize("events", [0, 4])
def test_events_that_do_not_exist_are_refused(selector, pairs, events):
    with pytest.raises(ValueError, match="EVENT_READ, EVENT_WRITE"):
        selector.register(pairs[0][0], events)


def test_a_socket_is_registered_once(selector, pairs):
    selector.register(pairs[0][0], EVENT_READ)
    with pytest.raises(KeyError, match="already registered"):
        selector.register(pairs[0][0], EVENT_READ)


def test_who_is_not_registered_is_named(selector, pairs):
    for call in (selector.unregister, selector.get_key, lambda sock: selector.modify(sock, EVENT_READ)):
        with pytest.raises(KeyError, match="not registered"):
            call(pairs[0][0])


def test_in_the_loop_urgent_work_waits_for_no_more_than_a_turn_of_other_work(pairs):
    order = []

    async def run():
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        *others, (urgent, sender) = [*pairs, *extra]
        prefer(urgent)

        def ordinary(sock):
            order.append("ordinary")
            sock.recv(1)
            if len(order) == 1:
                sender.send(b"x")
            if len(order) == len(others) + 1:
                done.set_result(None)

        def first():
            order.append("urgent")
            urgent.recv(1)

        loop.add_reader(urgent, first)
        for here, there in others:
            loop.add_reader(here, ordinary, here)
            there.send(b"x")
        await done
        for here, _ in (*others, (urgent, sender)):
            loop.remove_reader(here)

    with ExitStack() as undo:
        extra = [socket.socketpair() for _ in range(40)]
        for sock in (each for pair in extra for each in pair):
            undo.callback(sock.close)
        with asyncio.Runner(loop_factory=FairLoop) as runner:
            runner.run(run())
    assert order.index("urgent") == 16


def test_a_loop_of_another_kind_prefers_nothing(pairs):
    async def run():
        prefer(pairs[0][0])

    asyncio.run(run())
