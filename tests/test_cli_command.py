"""What a command is given."""

from argparse import Namespace

import pytest

from provisioner.cli.command import Session, Terminal


@pytest.mark.parametrize(
    ("flag", "environment", "server"),
    [
        (None, {}, "http://127.0.0.1:8092"),
        (None, {"PROVISIONER_SERVER": "http://a"}, "http://a"),
        ("http://b", {"PROVISIONER_SERVER": "http://a"}, "http://b"),
    ],
)
def test_the_server_is_that_of_the_flag_then_the_environment_then_this_host(flag, environment, server) -> None:
    assert Session(Namespace(server=flag, json=False), Terminal(environment)).server == server


def test_the_terminals_own_clock_knows_its_zone() -> None:
    assert Terminal({}).now().tzinfo is not None
