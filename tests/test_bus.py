"""The bus: everyone who listens hears everything, in order, or is told that something was dropped."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from provisioner.bus import BACKLOG_LIMIT, Bus, Lagged
from provisioner.events import Event


def event(id):
    return Event(id=id, time=datetime(2026, 1, 1, tzinfo=UTC), kind="job.log")


async def test_all_listeners_hear_in_order():
    bus = Bus()
    with bus.subscribe() as one, bus.subscribe() as two:
        for id in (1, 2):
            bus.publish(event(id))
        assert [(await each.next()).id for each in (one, one, two, two)] == [1, 2, 1, 2]


async def test_who_left_hears_nothing_more():
    bus = Bus()
    with bus.subscribe() as gone:
        pass
    bus.publish(event(1))
    with bus.subscribe() as here:
        bus.publish(event(2))
        assert [each.id async for each in _one(here)] == [2]
    gone.push(event(3))
    assert (await gone.next()).id == 3


async def _one(subscription):
    async for each in subscription:
        yield each
        return


async def test_a_listener_too_far_behind_is_told_once_and_goes_on():
    bus = Bus()
    with bus.subscribe() as slow:
        for id in range(BACKLOG_LIMIT + 1):
            bus.publish(event(id))
        with pytest.raises(Lagged):
            await slow.next()
        bus.publish(event(9999))
        assert (await slow.next()).id == 9999


async def test_what_arrives_while_a_wait_is_given_up_is_there_to_take():
    bus = Bus()
    with bus.subscribe() as listener:
        waiting = asyncio.create_task(listener.arrival())
        await asyncio.sleep(0)
        bus.publish(event(1))
        assert await waiting
        given_up = asyncio.create_task(listener.arrival())
        given_up.cancel()
        bus.publish(event(2))
        assert [each.id for each in listener.take()] == [1, 2]
        assert listener.take() == []


async def test_a_listener_too_far_behind_is_told_when_it_takes():
    bus = Bus()
    with bus.subscribe() as slow:
        for id in range(BACKLOG_LIMIT + 1):
            bus.publish(event(id))
        assert await slow.arrival()
        with pytest.raises(Lagged):
            slow.take()
        assert slow.take() == []
