"""What commands show."""

import io

from provisioner.cli.output import Output, as_yaml


def outputs(as_json: bool = False) -> tuple[Output, io.StringIO, io.StringIO]:
    out, remarks = io.StringIO(), io.StringIO()
    return Output(out, remarks, as_json), out, remarks


def test_a_table_in_a_pipe_is_never_cut() -> None:
    output, out, _ = outputs()
    output.table(("NAME", "WHAT"), [("web-1", "x" * 500), ("db-1", None)], "none")
    assert out.getvalue().splitlines() == ["NAME   WHAT", "web-1  " + "x" * 500, "db-1"]


def test_an_empty_table_is_a_remark() -> None:
    output, out, remarks = outputs()
    output.table(("NAME",), [], "no machines yet")
    assert (out.getvalue(), remarks.getvalue()) == ("", "no machines yet\n")


def test_cells_are_words() -> None:
    output, out, _ = outputs()
    output.table(("A", "B", "C"), [(True, ["x", "y"], 7)], "none")
    assert out.getvalue().splitlines()[1].split() == ["yes", "x,", "y", "7"]


def test_square_brackets_are_no_markup() -> None:
    output, out, _ = outputs()
    output.table(("NAME",), [("[bold]x[/bold]",)], "none")
    assert "[bold]x[/bold]" in out.getvalue()


def test_control_characters_of_others_do_not_reach_the_terminal() -> None:
    output, out, remarks = outputs()
    output.table(("NAME",), [("a\x1b]0;pwned\x07b",)], "none")
    output.line("c\x1b[2Jd")
    output.text("e\x1b[2Jf\n")
    output.remark("g\rh")
    assert not set("\x1b\x07\r") & set(out.getvalue() + remarks.getvalue())


def test_fields_leave_out_what_is_empty() -> None:
    output, out, _ = outputs()
    output.fields({"name": "web-1", "power": "", "errors": [], "macs": ["a", "b"]})
    assert [line.split(maxsplit=1) for line in out.getvalue().splitlines()] == [["name", "web-1"], ["macs", "a, b"]]


def test_with_json_sentences_are_left_out() -> None:
    output, out, _ = outputs(as_json=True)
    output.line("done")
    output.json({"naïve": 1})
    assert out.getvalue() == '{\n  "naïve": 1\n}\n'


def test_a_row_of_values_is_a_line_each() -> None:
    output, out, _ = outputs(as_json=True)
    output.json_line({"a": 1})
    output.json_line({"b": "ü"})
    assert out.getvalue() == '{"a": 1}\n{"b": "ü"}\n'


def test_raw_bytes_are_kept_as_they_are() -> None:
    out = io.TextIOWrapper(io.BytesIO(), "utf-8")
    output = Output(out, io.StringIO(), False)
    output.line("before")
    output.raw(b"\xff\x00\n")
    assert out.buffer.getvalue() == b"before\n\xff\x00\n"  # type: ignore[attr-defined]


def test_yaml_shows_text_of_several_lines_as_a_block() -> None:
    assert as_yaml({"name": "hello", "contents": "echo a\necho b\n"}) == (
        "name: hello\ncontents: |\n  echo a\n  echo b\n"
    )
