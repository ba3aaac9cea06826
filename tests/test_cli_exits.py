"""Exit codes, and the failure that carries one."""

from provisioner.cli.exits import MEANINGS, Exit, Failure


def test_the_exit_codes_are_what_scripts_rely_on() -> None:
    assert [int(code) for code in Exit] == [0, 1, 2, 3, 4, 5, 6, 130]


def test_every_exit_code_is_explained() -> None:
    assert set(MEANINGS) == set(Exit)


def test_a_failure_is_one_line_with_advice() -> None:
    assert Failure("it broke", "mend it").lines() == ["it broke; mend it"]
    assert Failure("it broke").lines() == ["it broke"]


def test_details_follow_unless_the_message_says_them_already() -> None:
    failure = Failure("'x' is no network", details=("cidr: 'x' is no network", "pool_start: is outside"))
    assert failure.lines() == ["'x' is no network", "  pool_start: is outside"]


def test_a_failure_has_the_same_fields_for_programs() -> None:
    assert Failure("it broke", "mend it", code="broken", object="m1").fields() == {
        "code": "broken",
        "message": "it broke",
        "advice": "mend it",
        "object": "m1",
        "details": [],
    }
