"""Places: few, handed on in turn, and never all for one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from provisioner.services.places import Places, Shares, Turn


class Crowd:
    """Clients that wait for places and hold them."""

    def __init__(self, count: int) -> None:
        self.places = Places(count)
        self.tasks: list[asyncio.Task[None]] = []

    async def come(self, *clients: str) -> list[Turn]:
        """Each wants a place, in this order."""
        turns = [self.places.turn(client) for client in clients]
        self.tasks += [asyncio.create_task(turn.wait()) for turn in turns]
        await asyncio.sleep(0)
        return turns

    async def leave(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


def have(turns: Iterable[Turn]) -> list[bool]:
    """Which of them have a place."""
    return [turn.has_begun for turn in turns]


async def test_one_client_has_half_of_the_places_and_the_next_half_of_the_rest() -> None:
    crowd = Crowd(8)
    assert have(await crowd.come(*["a"] * 9)).count(True) == 4
    assert have(await crowd.come(*["b"] * 9)).count(True) == 2
    assert have(await crowd.come("c", "d", "e")) == [True, True, False]
    await crowd.leave()


async def test_many_clients_have_all_places() -> None:
    crowd = Crowd(4)
    assert have(await crowd.come(*"abcde")) == [True] * 4 + [False]
    await crowd.leave()


async def test_who_has_fewest_goes_before_those_who_came_earlier() -> None:
    crowd = Crowd(4)
    first = await crowd.come("a", "b", "c", "d")
    greedy, modest = await crowd.come(*["a"] * 50), await crowd.come("e")
    first[3].end()
    assert have(modest) == [True] and not any(have(greedy))
    await crowd.leave()


async def test_clients_take_turns() -> None:
    crowd = Crowd(1)
    turns = await crowd.come("a", "a", "a", "b", "b")
    order = []
    while len(order) < 5:
        (at,) = [n for n, has in enumerate(have(turns)) if has]
        order.append(at)
        turns[at].end()
    assert order == [0, 1, 3, 2, 4]


async def test_what_several_want_has_a_place_as_soon_as_one_of_them_can_have_it() -> None:
    crowd = Crowd(4)
    *_, last = await crowd.come("a", "a", "a")
    assert not last.has_begun
    last.join("b")
    assert last.has_begun
    last.join("c")
    last.end()
    assert have(await crowd.come("b", "c")) == [True, True]
    await crowd.leave()


async def test_who_gives_up_leaves_no_trace() -> None:
    crowd = Crowd(1)
    held, gone, later = await crowd.come("a", "a", "a")
    gone.join("b")
    crowd.tasks[1].cancel()
    await asyncio.gather(crowd.tasks[1], return_exceptions=True)
    held.end()
    held.end()
    assert later.has_begun
    later.end()
    assert have(await crowd.come("b", "c")) == [True, False]
    await crowd.leave()


async def test_who_is_given_up_at_the_moment_when_its_turn_comes_gives_its_place_back() -> None:
    crowd = Crowd(1)
    held, gone, later = await crowd.come("a", "b", "c")
    held.end()
    crowd.tasks[1].cancel()
    await asyncio.gather(crowd.tasks[1], return_exceptions=True)
    assert later.has_begun and not gone.has_begun


async def test_a_place_lasts_as_long_as_what_is_done_with_it() -> None:
    crowd = Crowd(1)
    async with crowd.places.turn("a"):
        (waiting,) = await crowd.come("b")
        assert not waiting.has_begun
    assert waiting.has_begun


@given(st.integers(1, 20), st.lists(st.tuples(st.integers(0, 4), st.booleans())))
def test_nobody_ever_has_more_than_half_and_all_come_back(count: int, steps: list[tuple[int, bool]]) -> None:
    shares, held = Shares(count), dict.fromkeys("01234", 0)
    for who, takes in steps:
        client = str(who)
        if takes:
            held[client] += shares.take(client)
        elif held[client]:
            shares.give_back(client)
            held[client] -= 1
        assert shares.free == count - sum(held.values()) and max(held.values()) <= (count + 1) // 2
    assert [shares.held(client) for client in held] == list(held.values())
