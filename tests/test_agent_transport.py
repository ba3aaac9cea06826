"""One HTTP request over a real socket, and every way in which it fails."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from errno import ENOSPC
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from threading import Event, Thread

import pytest

from agent.errors import ConfigError, FileTrouble, ServerAway
from agent.messages import Request
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
        more = connection.recv(65536)
        if not more:
            break
        body += more
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


# --- bodies that are files


def test_a_file_is_sent_with_its_size(tmp_path: Path) -> None:
    data = bytes(range(256)) * 3000
    (tmp_path / "f").write_bytes(data)
    with peer(answer(b"{}")) as (url, received):
        reply = HttpTransport(url).send(Request("PUT", "/x", body_file=str(tmp_path / "f")))
    head, _, body = received[0].partition(b"\r\n\r\n")
    assert (reply.status, body) == (200, data)
    assert f"Content-Length: {len(data)}".encode() in head


def test_an_empty_file_is_sent_too(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    with peer(answer(b"{}")) as (url, received):
        HttpTransport(url).send(Request("PUT", "/x", body_file=str(tmp_path / "f")))
    assert b"Content-Length: 0" in received[0]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with peer(None) as (url, _), pytest.raises(FileTrouble, match="nothing: No such file"):
        HttpTransport(url).send(Request("PUT", "/x", body_file=str(tmp_path / "nothing")))


def test_a_file_that_tells_a_larger_size_than_it_has_is_told_of() -> None:
    path = "/sys/kernel/mm/transparent_hugepage/enabled"  # says 4096 bytes, as all of its kind
    with peer(None) as (url, _), pytest.raises(FileTrouble, match="was cut to .* of 4096 bytes"):
        HttpTransport(url).send(Request("PUT", "/x", body_file=path))


def test_what_a_server_says_that_does_not_read_it_all_is_heard(tmp_path: Path) -> None:
    with open(tmp_path / "f", "wb") as file:
        file.truncate(64 * 1024 * 1024)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def refuse() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(answer(b"{}", status="413 Too Large"))
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(1024 * 1024):
                    """A server that closes at once would take its answer away with it."""

        thread = Thread(target=refuse, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        assert HttpTransport(url).send(Request("PUT", "/x", body_file=str(tmp_path / "f"))).status == 413
        thread.join(10)


def test_a_body_is_saved_and_hashed(tmp_path: Path) -> None:
    data = bytes(range(256)) * 3000
    with peer(answer(data)) as (url, _), open(tmp_path / "f", "wb") as file:
        file.write(b"of a try before")
        reply = HttpTransport(url).download(Request("GET", "/x"), file)
    assert (tmp_path / "f").read_bytes() == data
    assert reply.body.decode() == sha256(data).hexdigest()


def test_a_body_that_breaks_off_while_it_is_saved_means_the_server_is_away(tmp_path: Path) -> None:
    broken = pytest.raises(ServerAway, match="broke off 2 bytes early")
    with peer(answer(b"abc", length=5)) as (url, _), open(tmp_path / "f", "wb") as file, broken:
        HttpTransport(url).download(Request("GET", "/x"), file)


def test_a_refusal_is_not_saved(tmp_path: Path) -> None:
    with peer(answer(b'{"detail": "no"}', status="404 Not Found")) as (url, _), open(tmp_path / "f", "wb") as file:
        assert HttpTransport(url).download(Request("GET", "/x"), file).json() == {"detail": "no"}
    assert (tmp_path / "f").read_bytes() == b""


def test_a_full_disk_is_told_of() -> None:
    with peer(answer(b"abc")) as (url, _), pytest.raises(FileTrouble, match="cannot write /dev/full: No space left"):
        full = Full()
        HttpTransport(url).download(Request("GET", "/x"), full)


class Full(BytesIO):
    name = "/dev/full"

    def write(self, data: object) -> int:
        raise OSError(ENOSPC, os.strerror(ENOSPC))
