"""Errors carry what a caller needs to go on."""

from __future__ import annotations

import pytest

from provisioner import errors
from provisioner.errors import Conflict, FieldError, Invalid, ProvisionerError, unknown

ALL = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, ProvisionerError)]


def test_an_error_has_the_code_and_status_of_its_class():
    error = Conflict("busy", object="m1", fields=(FieldError("a", "b"),))
    assert (error.code, error.status, error.object, str(error)) == ("conflict", 409, "m1", "busy")


def test_code_and_status_may_be_more_exact():
    error = Invalid("x", code="special", status=400)
    assert (error.code, error.status, Invalid("y").code) == ("special", 400, "invalid")


@pytest.mark.parametrize("cls", ALL)
def test_every_error_has_a_status_that_http_knows(cls):
    assert 400 <= cls.status < 600


def test_every_error_has_a_code_of_its_own():
    assert len({cls.code for cls in ALL}) == len(ALL)


def test_an_unknown_name_is_told_with_those_there_are():
    assert unknown("stage", "x", {"b": 1, "a": 2}) == "unknown stage 'x'; there is: a, b"
    assert unknown("stage", "x", []) == "unknown stage 'x'; there is none yet"
    assert unknown("stage", "x", range(25)).endswith("and 5 more")
