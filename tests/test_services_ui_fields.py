"""What a form shows, what is read from it, and where it says what is wrong."""

import pytest

from provisioner.errors import FieldError, Invalid
from provisioner.services.ui_fields import Field, read_all, sections, wrong_by_field

START, LEASE = Field("pool_start", "Pool from"), Field("lease", "Lease", "seconds", section="Times")
OPTIONS = Field("options", "Further options", "options")


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        ("text", "a", "a"),
        ("list", ["a", "b"], "a, b"),
        ("options", {"a": "1", "b": "x = y"}, "a = 1\nb = x = y"),
        ("switch", True, "yes"),
        ("switch", False, ""),
        ("seconds", 0, "0"),
        ("seconds", 90, "90"),
        ("seconds", 5400, "90m"),
        ("seconds", 3600, "1h"),
        ("seconds", 604_800, "1w"),
        ("seconds", 4_294_967_295, "4294967295"),
    ],
)
def test_what_a_form_shows_is_read_back_as_it_was(kind, value, text):
    field = Field("x", "X", kind)
    assert field.shown(value) == text
    assert field.read({"x": text}) == value


@pytest.mark.parametrize(
    ("kind", "text", "says"),
    [
        ("seconds", "ten", "'ten' is no time; write seconds, or 90m, 12h, 7d"),
        ("seconds", "", "is empty; write seconds, or 90m, 12h, 7d"),
        ("seconds", "-1", "'-1' is no time"),
        ("options", "42", "'42' is no option; write a line as ntp-servers = 10.0.0.1"),
        ("options", "= x", "'= x' is no option"),
        ("options", "42 = 1\n42 = 2", "42 is said twice"),
    ],
)
def test_what_cannot_be_read_says_what_to_write(kind, text, says):
    with pytest.raises(Invalid) as caught:
        Field("x", "X", kind).read({"x": text})
    assert caught.value.fields[0].path == "x" and caught.value.fields[0].message.startswith(says)


def test_all_that_cannot_be_read_is_named_at_once():
    with pytest.raises(Invalid) as caught:
        read_all((START, LEASE, OPTIONS), {"lease": "soon", "options": "x"})
    assert [each.path for each in caught.value.fields] == ["lease", "options"]


def test_a_section_is_open_when_it_holds_something_unusual_or_wrong():
    def open_with(values, wrong=()):
        return [each.open for each in sections((START, LEASE), values, {"lease": "1h"}, dict(wrong))]

    assert open_with({"lease": "1h"}) == [False, False]
    assert open_with({"lease": "2h"}) == [False, True]
    assert open_with({"lease": "1h"}, {"lease": "No."}.items()) == [False, True]


@pytest.mark.parametrize(
    ("path", "message", "said"),
    [
        ("lease", "9 comes before pool_start 10", {"lease": "9 comes before “Pool from” 10."}),
        ("options.42", "takes addresses.", {"options": "42: takes addresses."}),
        ("lease[0]", "must be text", {"lease": "Must be text."}),
    ],
)
def test_a_fault_is_said_at_its_field_in_the_words_of_the_form(path, message, said):
    error = Invalid(f"{path}: {message}", fields=(FieldError(path, message),))
    assert wrong_by_field(error, (START, LEASE, OPTIONS)) == (said, "")


def test_what_belongs_to_no_field_of_the_form_is_a_sentence():
    assert wrong_by_field(Invalid("it is in use"), (START,)) == ({}, "It is in use.")
    elsewhere = Invalid("other: is odd", fields=(FieldError("other", "is odd"),))
    assert wrong_by_field(elsewhere, (START,)) == ({}, "other: is odd.")
