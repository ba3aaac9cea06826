"""Requests to the API and what can go wrong with them."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from provisioner.cli.client import Client, Refusal, Unreachable, at, is_away
from provisioner.cli.exits import Exit, Failure
from tests.fakes.api import TOKEN, FakeApi, Problem, machine


@asynccontextmanager
async def answering(handler) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    async with TestServer(app) as server:
        yield str(server.make_url(""))


@contextmanager
def listening(answer: bytes | None) -> Iterator[str]:
    """A TCP port whose first connection is sent this and closed; None: nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        if answer is None:
            yield url
            return
        listener.listen()
        yield url


async def failure_of(client: Client, path: str = "/api/v1/machines", **how: object) -> Failure:
    with pytest.raises(Failure) as caught:
        await asyncio.to_thread(client.send, "GET", path, **how)
    return caught.value


def test_paths_keep_slashes_of_names_and_quote_the_rest() -> None:
    assert at("templates", "tasks/hello world?") == "/api/v1/templates/tasks/hello%20world%3F"


async def test_every_page_of_a_list_is_read() -> None:
    api = FakeApi(page_size=2)
    api.add(*(machine(f"m{number}", f"{number}" * 8) for number in range(5)))
    async with api.served() as url:
        client = Client(url, TOKEN)
        names = await asyncio.to_thread(lambda: [each["name"] for each in client.pages(at("machines"))])
    assert names == ["m0", "m1", "m2", "m3", "m4"]
    assert len(api.requests) == 3


async def test_an_empty_answer_is_none() -> None:
    async def nothing(request: web.Request) -> web.Response:
        return web.Response(status=204)

    async with answering(nothing) as url:
        assert await asyncio.to_thread(Client(url).get, "/x") is None


async def test_a_server_below_a_path_is_asked_there() -> None:
    async def echo(request: web.Request) -> web.Response:
        return web.json_response(request.path)

    async with answering(echo) as url:
        assert await asyncio.to_thread(Client(f"{url}/below/").get, "/x") == "/below/x"


@pytest.mark.parametrize(
    ("status", "exit", "away"),
    [
        (400, 1, False),
        (401, 4, False),
        (403, 4, False),
        (404, 3, False),
        (409, 1, False),
        (503, 1, True),
        (504, 1, True),
    ],
)
async def test_a_problem_is_a_refusal_with_its_exit_code(status: int, exit: int, away: bool) -> None:
    api = FakeApi()

    def refuse(request: web.Request) -> None:
        raise Problem(status, "some-code", "this is why", object="m1", errors=[{"path": "a.b", "message": "is bad"}])

    api.before = refuse
    async with api.served() as url:
        failure = await failure_of(Client(url, TOKEN))
    assert isinstance(failure, Refusal)
    assert (failure.message, failure.code, failure.object) == ("this is why", "some-code", "m1")
    assert failure.details == ("a.b: is bad",)
    assert failure.exit == exit
    assert is_away(failure) is away


async def test_a_missing_login_says_how_to_log_in() -> None:
    async with FakeApi().served() as url:
        failure = await failure_of(Client(url, "wrong"))
    assert failure.lines() == [
        f"the token is wrong or has ended; log in again; log in with `provisioner --server {url} login`"
    ]


async def test_an_error_from_something_else_than_our_server_names_its_status() -> None:
    async def teapot(request: web.Request) -> web.Response:
        return web.Response(status=418, text="<h1>teapot</h1>", content_type="text/html")

    async with answering(teapot) as url:
        failure = await failure_of(Client(url))
    assert failure.message == "the server answered with HTTP status 418"


async def test_a_redirect_is_not_followed() -> None:
    async def elsewhere(request: web.Request) -> web.Response:
        raise web.HTTPFound("http://elsewhere/")

    async with answering(elsewhere) as url:
        assert "302" in (await failure_of(Client(url, TOKEN))).message


async def test_nobody_listening_is_unreachable() -> None:
    with listening(None) as url:
        failure = await failure_of(Client(url))
    assert isinstance(failure, Unreachable)
    assert failure.message == f"cannot reach the server at {url}: connection refused"
    assert failure.advice.startswith("is it running (`provisioner serve`)?")
    assert failure.exit is Exit.UNREACHABLE
    assert is_away(failure)


async def test_a_server_that_stays_silent_is_unreachable() -> None:
    with listening(b"") as url:
        failure = await failure_of(Client(url), seconds=0.05)
    assert failure.message.endswith(": no answer within 0.05 s")


async def test_what_does_not_speak_http_is_unreachable() -> None:
    async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(shout, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        failure = await failure_of(Client(url))
    assert isinstance(failure, Unreachable)
    assert "does not speak HTTP" in failure.message


async def test_an_answer_that_breaks_off_is_unreachable() -> None:
    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(half, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        failure = await failure_of(Client(url))
    assert failure.message.endswith("the connection broke in the middle of an answer")


@pytest.mark.parametrize("url", ["localhost:8092", "ftp://x", "http://", "http://x:99999", "http://[::1", "nonsense"])
async def test_what_is_no_server_is_a_wrong_command_line(url: str) -> None:
    failure = await failure_of(Client(url))
    assert failure.exit is Exit.USAGE
    assert failure.message == f"{url!r} is no server"


async def test_a_name_that_does_not_resolve_says_so() -> None:
    failure = await failure_of(Client("http://server.invalid.:8092"))
    assert failure.message.endswith(": its name cannot be resolved")


async def test_tls_against_a_plain_server_says_so() -> None:
    async with FakeApi().served() as url:
        failure = await failure_of(Client(url.replace("http:", "https:")))
    assert isinstance(failure, Unreachable)
    assert "TLS failed" in failure.message
