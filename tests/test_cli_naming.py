"""What people call machines."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from provisioner.cli.client import Client
from provisioner.cli.exits import Exit, Failure
from provisioner.cli.naming import find_job, find_machine, short
from tests.fakes.api import TOKEN, FakeApi, job, machine

FIRST, SECOND = "aaaa1111-0000-4000-8000-000000000001", "aaaa2222-0000-4000-8000-000000000002"


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    api = FakeApi()
    api.add(machine("web-1", FIRST), machine("db-1", SECOND))
    api.add_jobs(job("bbbb", FIRST))
    async with api.served() as url:
        yield Client(url, TOKEN)


async def found(client: Client, word: str) -> str:
    shown = await asyncio.to_thread(find_machine, client, word)
    return str(shown["name"])


async def failure(client: Client, word: str) -> Failure:
    with pytest.raises(Failure) as caught:
        await found(client, word)
    return caught.value


@pytest.mark.parametrize("word", ["web-1", FIRST, "aaaa1", "AAAA1111", FIRST[:35]])
async def test_a_machine_is_found_by_name_id_or_beginning_of_its_id(client: Client, word: str) -> None:
    assert await found(client, word) == "web-1"


async def test_a_beginning_that_fits_several_names_them(client: Client) -> None:
    error = await failure(client, "aaaa")
    assert error.lines() == ["'aaaa' could be web-1, db-1; write more of the id"]
    assert error.exit is Exit.USAGE


@pytest.mark.parametrize("word", ["web-9", "cccc", "no such thing"])
async def test_an_unknown_machine_says_where_to_look(client: Client, word: str) -> None:
    error = await failure(client, word)
    assert error.lines() == [f"there is no machine {word!r}; `provisioner machines list` shows those there are"]
    assert error.exit is Exit.NOT_FOUND


async def test_an_empty_name_is_not_the_list_of_all(client: Client) -> None:
    assert (await failure(client, " ")).exit is Exit.USAGE


async def test_a_wrong_login_is_not_taken_for_an_unknown_machine(client: Client) -> None:
    error = await failure(Client(client.server, "wrong"), "web-1")
    assert error.exit is Exit.DENIED


async def test_a_job_is_found_by_the_beginning_of_its_id(client: Client) -> None:
    assert (await asyncio.to_thread(find_job, client, "bb"))["id"] == "bbbb"


def test_a_short_id_is_its_beginning() -> None:
    assert short(FIRST) == "aaaa1111"
