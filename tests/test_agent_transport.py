"""One HTTP request over a real socket, and every way in which it fails."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

import pytest

from agent.errors import ConfigError, ServerAway
from agent.protocol import Request
from agent.transport import HttpTransport


@contextmanager
def peer(*answers: bytes | None, hold: Event | None = None) -> Iterator[tuple[str, list[bytes]]]:
    """A server that says these bytes, one connection each, and closes; None says nothing."""
    received: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = Thread(target=_speak, args=(listener, answers, received, hold), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", received
        if hold:
            hold.set()
        thread.join(10)


def _speak(
    listener: socket.socket, answers: tuple[bytes | None, ...], received: list[bytes], hold: Event | None
) -> None:
    for answer in answers:
        connection, _ = listener.accept()
        with connection:
            received.append(_read_request(connection))
            if answer is not None:
                connection.sendall(answer)
            if hold:
                hold.wait(10)


def _read_request(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")]
    while lengths and len(body) < int(lengths[0]):
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def answer(body: bytes, length: int | None = None, status: str = "200 OK") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body) if length is None else length}\r\nX-Word: y\r\n\r\n"
    return head.encode() + body


def test_a_request_and_its_reply() -> None:
    with peer(answer(b'{"a": 1}')) as (url, received):
        reply = HttpTransport(url).send(Request("PUT", "/x?y=1", b"data", "text/plain", headers={"X-More": "z"}))
    assert (reply.status, reply.body, reply.headers["x-word"]) == (200, b'{"a": 1}', "y")
    head, _, body = received[0].partition(b"\r\n\r\n")
    assert head.startswith(b"PUT /x?y=1 HTTP/1.1\r\n")
    assert b"Content-Type: text/plain" in head
    assert b"X-More: z" in head
    assert body == b"data"


def test_a_server_below_a_path() -> None:
    with peer(answer(b"")) as (url, received):
        HttpTransport(f"{url}/prefix/").send(Request("GET", "/x"))
    assert received[0].startswith(b"GET /prefix/x HTTP/1.1")


def test_a_server_error_is_a_reply() -> None:
    with peer(answer(b"", status="503 Busy")) as (url, _):
        assert HttpTransport(url).send(Request("GET", "/x")).status == 503


@pytest.mark.parametrize(
    "said",
    [None, b"", b"HTTP/1.1 200", b"nonsense\r\n\r\n", answer(b"half", 100), answer(b"", 5)],
    ids=["closed", "nothing", "half a status", "nonsense", "half a body", "no body"],
)
def test_a_broken_reply_means_the_server_is_away(said: bytes | None) -> None:
    with peer(said) as (url, _), pytest.raises(ServerAway, match="POST /x"):
        HttpTransport(url).send(Request("POST", "/x"))


def test_a_refused_connection_means_the_server_is_away() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ServerAway, match="refused"):
        HttpTransport(f"http://127.0.0.1:{port}").send(Request("GET", "/x"))


def test_a_name_that_does_not_resolve_means_the_server_is_away() -> None:
    with pytest.raises(ServerAway):
        HttpTransport("http://name.invalid").send(Request("GET", "/x"))


def test_a_server_that_does_not_answer_in_time_is_away() -> None:
    with peer(None, hold=Event()) as (url, _), pytest.raises(ServerAway, match="timed out"):
        HttpTransport(url).send(Request("GET", "/x", timeout_seconds=0.05))


def test_a_waiting_request_can_be_cut_off() -> None:
    hold = Event()
    with peer(None, hold=hold) as (url, received):
        transport = HttpTransport(url)
        errors: list[Exception] = []

        def wait() -> None:
            try:
                transport.send(Request("GET", "/x", interruptible=True))
            except ServerAway as error:
                errors.append(error)

        waiter = Thread(target=wait, daemon=True)
        waiter.start()
        while not received and waiter.is_alive():
            waiter.join(0.01)
        transport.interrupt()
        waiter.join(10)
        assert len(errors) == 1


def test_once_interrupted_it_begins_no_other_wait() -> None:
    with peer() as (url, _):
        transport = HttpTransport(url)
        transport.interrupt()
        with pytest.raises(ServerAway, match="interrupted"):
            transport.send(Request("GET", "/x", interruptible=True))


@pytest.mark.parametrize("url", ["", "10.0.0.1:8091", "ftp://x", "http://"])
def test_an_address_that_is_no_url_is_named(url: str) -> None:
    with pytest.raises(ConfigError, match="not a http"):
        HttpTransport(url)
