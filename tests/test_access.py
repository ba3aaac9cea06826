"""Who may do what: nothing that no rule allows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from provisioner.access import (
    NOBODY,
    SERVER,
    Principal,
    Who,
    alive,
    digest,
    require_machine,
    require_param,
    require_user,
)
from provisioner.errors import Denied
from provisioner.model.access import Token, TokenPurpose

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ADMIN = Principal(Who.USER, "ann", "admin")
MACHINE = Principal(Who.MACHINE, "m1")


def test_an_administrator_may_do_everything():
    require_user(ADMIN, "delete machines")
    require_machine(ADMIN, "m1", "report")


def test_nobody_must_log_in_first():
    for check in (lambda: require_user(NOBODY, "look"), lambda: require_machine(NOBODY, "m1", "look")):
        with pytest.raises(Denied) as caught:
            check()
        assert (caught.value.status, caught.value.code) == (401, "login-required")


@pytest.mark.parametrize(
    "who", [MACHINE, SERVER, Principal(Who.USER, "bob", "guest"), Principal(Who.MACHINE, role="admin")]
)
def test_others_may_not_do_what_users_do(who):
    with pytest.raises(Denied) as caught:
        require_user(who, "look")
    assert caught.value.status == 403


def test_a_machine_may_act_for_itself_only():
    require_machine(MACHINE, "m1", "report")
    with pytest.raises(Denied, match="bound to another machine"):
        require_machine(MACHINE, "m2", "report")


def test_a_token_ends_at_its_very_time():
    token = Token(digest="d", purpose=TokenPurpose.API, subject="ann", created_at=NOW, expires_at=NOW)
    assert alive(token, NOW - timedelta(seconds=1)) and not alive(token, NOW)


def test_a_digest_is_not_the_secret():
    assert digest("secret") == digest("secret") != digest("Secret") and "secret" not in digest("secret")


def test_a_principal_reads_as_kind_and_name():
    assert [str(each) for each in (ADMIN, SERVER, NOBODY)] == ["user:ann", "server", "nobody"]


@pytest.mark.parametrize(
    ("name", "has_value", "allowed"),
    [
        ("network/boot-mac", True, True),
        ("power/address", False, True),
        ("power/address", True, False),
        ("power/username", False, False),
        ("power/password", False, False),
    ],
)
def test_a_machine_does_not_say_where_its_power_is_switched_once_that_is_known(
    name: str, has_value: bool, allowed: bool
) -> None:
    machine = Principal(Who.MACHINE, "m")
    if allowed:
        require_param(machine, name, has_value)
    else:
        with pytest.raises(Denied, match=name):
            require_param(machine, name, has_value)


def test_an_operator_may_set_any_param() -> None:
    require_param(Principal(Who.USER, "admin", "admin"), "power/password", True)
