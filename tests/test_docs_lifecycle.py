"""docs/lifecycle.md shows the tables as they are, and explains what they leave open."""

from pathlib import Path

from provisioner.model.machines import ExitState, Hold
from tests.diagrams import BLOCKS, PAGE, blocks_in, diagram, drawn, table

TEXT = PAGE.read_text(encoding="utf-8")


def test_the_tables_in_the_docs_are_those_in_the_code() -> None:
    assert drawn(TEXT) == TEXT, "docs/lifecycle.md is stale: run `make diagrams`"


def test_every_table_is_shown_once() -> None:
    assert sorted(blocks_in(TEXT)) == sorted(BLOCKS)


def test_every_hold_is_explained() -> None:
    assert [hold.value for hold in Hold if hold and f"`{hold.value}`" not in TEXT] == []


def test_every_exit_state_is_named() -> None:
    assert [state.value for state in ExitState if state and state.value not in TEXT] == []


def test_the_page_is_linked() -> None:
    assert "docs/lifecycle.md" in (Path(__file__).resolve().parent.parent / "README.md").read_text(encoding="utf-8")


def test_a_table_keeps_its_columns_whatever_is_in_a_cell() -> None:
    assert table(("a", "b"), [("x|y", "z")]) == "| a | b |\n| --- | --- |\n| x\\|y | z |"


def test_arrows_between_two_states_become_one() -> None:
    arrows = [("a", "b-c", "x"), ("a", "b-c", "y"), ("a", "b-c", "x")]
    assert diagram(arrows).splitlines()[2:-1] == ["    b_c : b-c", "    a --> b_c : x, y"]
