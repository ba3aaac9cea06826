"""How a transfer is told."""

from __future__ import annotations

from typing import Any, cast

from provisioner.conductor.turns import Turns
from provisioner.services.transfers import Transfers
from tests.fakes.turns import FakeTurns


class Notebook:
    """Remembers what was told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def served(self, *told: Any) -> None:
        self.told.append(told)


def test_a_large_transfer_is_followed_and_told() -> None:
    notebook, turns, moments = Notebook(), FakeTurns(heavy=100), iter([10.0, 12.5])
    followed = Transfers(notebook, cast(Turns, turns), lambda: next(moments)).of("/files/a", "10.0.0.9")
    followed.begin(100, 10)
    assert followed.may_go_on()
    followed.progress(50)
    followed.ended(90, "", whole=True)
    assert turns.told == [("begin", "10.0.0.9", "/files/a", 100, 10), 50, "whole"]
    assert notebook.told == [("http", "/files/a", "10.0.0.9", 90, 2.5, "")]


def test_a_small_one_never_waits_and_is_only_told() -> None:
    notebook, turns = Notebook(), FakeTurns(heavy=100, held=1000)
    followed = Transfers(notebook, cast(Turns, turns), lambda: 0.0).of("/files/a", "10.0.0.9")
    followed.begin(99, 0)
    assert followed.may_go_on()
    followed.progress(50)
    followed.ended(50, "cut off", whole=False)
    assert turns.told == [] and notebook.told == [("http", "/files/a", "10.0.0.9", 0, 0.0, "cut off")]


def test_what_was_given_in_one_piece_is_told_and_followed_where_that_is_of_interest() -> None:
    for heavy, followed in ((1000, []), (10, [("begin", "10.0.0.9", "/files/a", 99, 0), 99, "whole"])):
        notebook, turns = Notebook(), FakeTurns(heavy=heavy)
        Transfers(notebook, cast(Turns, turns)).given("/files/a", "10.0.0.9", 99)
        assert (turns.told, notebook.told) == (followed, [("http", "/files/a", "10.0.0.9", 99, 0.0)])
