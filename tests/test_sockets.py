"""Sockets: bound with a helpful refusal, or inherited by name."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from provisioner.config import Listener
from provisioner.errors import SettingError
from provisioner.sockets import beside, bind, inherited, notify, tcp, tcp6, udp6

_CHILD = """
import json, os
from provisioner.sockets import inherited
environment = {**os.environ, "LISTEN_PID": str(os.getpid())}
found = inherited(environment, os.getpid())
print(json.dumps({name: sock.getsockname()[1] for name, sock in found.items()}))
"""


def test_nothing_is_inherited_without_activation() -> None:
    assert inherited({}, 1) == {}


def test_sockets_meant_for_another_process_are_left_alone() -> None:
    assert inherited({"LISTEN_PID": "1", "LISTEN_FDS": "1"}, 2) == {}


def test_inherited_sockets_are_known_by_name() -> None:
    with tcp("127.0.0.1", 0) as first, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as second:
        second.bind(("127.0.0.1", 0))
        script = f"""
import os, sys
for place, number in enumerate(({first.fileno()}, {second.fileno()})):
    os.dup2(number, 100 + place)
for place in range(2):
    os.dup2(100 + place, 3 + place)
os.execv(sys.executable, [sys.executable, "-c", {_CHILD!r}])
"""
        said = subprocess.run(
            [sys.executable, "-c", script],
            pass_fds=(first.fileno(), second.fileno()),
            env={"LISTEN_FDS": "2", "LISTEN_FDNAMES": "ui:dhcp", "PYTHONPATH": str(Path(__file__).parent.parent)},
            stdout=subprocess.PIPE,
            check=True,
        ).stdout
        assert json.loads(said) == {"ui": first.getsockname()[1], "dhcp": second.getsockname()[1]}


def test_a_port_in_use_names_the_port_and_whom_to_ask() -> None:
    with tcp("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingError, match=rf"tcp port {port} is in use; `ss -ltnp sport = :{port}`"):
            bind("http", Listener("127.0.0.1", port), tcp)


def test_an_address_of_another_host_says_how_to_see_ours() -> None:
    with pytest.raises(SettingError, match=r"192\.0\.2\.1 is not an address of this host; `ip -br address`"):
        bind("ui", Listener("192.0.2.1", 0), tcp)


def test_the_service_manager_is_told(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        notify({"NOTIFY_SOCKET": str(tmp_path / "notify")}, "READY=1")
        assert manager.recv(100) == b"READY=1"


def test_without_a_service_manager_nobody_is_told() -> None:
    notify({}, "READY=1")


def test_a_listener_for_ipv6_leaves_the_port_to_ipv4_too() -> None:
    with tcp("0.0.0.0", 0) as four:
        port = four.getsockname()[1]
        with tcp6("::", port) as six:
            assert six.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as four:
        four.bind(("0.0.0.0", 0))
        udp6("::", four.getsockname()[1]).close()


def test_a_service_listens_on_ipv6_beside_every_address_of_ipv4_and_no_other() -> None:
    made = beside("tftp6", Listener("0.0.0.0", 69), 0, udp6)
    assert made is not None
    made.close()
    assert beside("tftp6", Listener("127.0.0.1", 69), 0, udp6) is None
    assert beside("tftp6", Listener("", 0, off=True), 0, udp6) is None


def test_what_cannot_be_had_on_ipv6_stops_nothing() -> None:
    with tcp6("::", 0) as taken:
        assert beside("http6", Listener("0.0.0.0", 0), taken.getsockname()[1], tcp6) is None
