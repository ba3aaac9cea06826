"""The verb that scripts use for params, against a real server."""

import io
import json

import pytest

from agent.errors import ConfigError, Refused
from agent.param import as_text, as_value, client_from, main
from tests.fakes.agent_server import MACHINE, TOKEN, FakeServer


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> object:
    with FakeServer([]) as server:
        server.params = {"colour": "red", "size/x": {"a": [1, "é"]}, "number": 5}
        monkeypatch.setenv("PROVISIONER_URL", server.url)
        monkeypatch.setenv("PROVISIONER_TOKEN", TOKEN)
        monkeypatch.setenv("PROVISIONER_MACHINE", MACHINE)
        yield server


@pytest.mark.parametrize(("name", "text"), [("colour", "red\n"), ("size/x", '{"a": [1, "é"]}\n'), ("number", "5\n")])
def test_get_prints_text_as_it_is_and_all_else_as_json(
    server: FakeServer, capsys: pytest.CaptureFixture[str], name: str, text: str
) -> None:
    assert main(["get", name]) == 0
    assert capsys.readouterr().out == text


def test_get_without_a_value_fails_and_names_the_param(server: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["get", "nope"]) == 1
    out, err = capsys.readouterr()
    assert (out, err) == ("", "param nope has no value for this machine and no default\n")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("blue", "blue"),
        ('{"a": 1}', {"a": 1}),
        ("5", 5),
        ('"5"', "5"),
        ("null", None),
        ("", ""),
        ("NaN", "NaN"),
        ("Infinity", "Infinity"),
    ],
)
def test_set_takes_json_or_text(server: FakeServer, text: str, value: object) -> None:
    assert main(["set", "size/x", text]) == 0
    assert server.params["size/x"] == value


@pytest.mark.parametrize("text", ["-rf", "--help", "--", "-1x"])
def test_a_value_behind_two_dashes_may_begin_with_dashes(server: FakeServer, text: str) -> None:
    assert main(["set", "--", "colour", text]) == 0
    assert server.params["colour"] == text


def test_set_reads_a_long_value_from_its_input(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("[1]"))
    main(["set", "list", "-"])
    assert server.params["list"] == [1]


def test_several_are_set_by_one_request(server: FakeServer) -> None:
    assert main(["set", "a", "1", "b/c", "two words", "colour", '["x"]']) == 0
    assert {name: server.params[name] for name in ("a", "b/c", "colour")} == {
        "a": 1,
        "b/c": "two words",
        "colour": ["x"],
    }
    assert server.requests == [f"PATCH /api/v1/machines/{MACHINE}/params"]


def test_null_among_several_is_a_value_and_takes_none_away(server: FakeServer) -> None:
    assert main(["set", "a", "1", "colour", "null"]) == 0
    assert (server.params["a"], server.params["colour"]) == (1, None)


def test_a_server_without_that_request_gets_one_after_the_other(server: FakeServer) -> None:
    server.fault("PATCH", "405")
    assert main(["set", "a", "1", "b", "2"]) == 0
    assert (server.params["a"], server.params["b"]) == (1, 2)


def test_what_the_server_refuses_is_not_tried_one_by_one(server: FakeServer) -> None:
    server.fault("PATCH", "422")
    with pytest.raises(Refused):
        main(["set", "a", "1", "b", "2"])
    assert "a" not in server.params


def test_a_name_without_a_value_is_told_before_anything_is_set(
    server: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["set", "a", "1", "b"])
    assert "'b' is a name without a value" in capsys.readouterr().err
    assert server.requests == []


def test_several_are_taken_away(server: FakeServer) -> None:
    assert main(["unset", "colour", "number"]) == 0
    assert set(server.params) == {"size/x"}


def test_unset_takes_the_value_away(server: FakeServer) -> None:
    assert main(["unset", "colour"]) == 0
    assert "colour" not in server.params


def test_all_prints_everything(server: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    main(["all"])
    assert json.loads(capsys.readouterr().out) == server.params


def test_a_server_that_is_away_for_a_moment_is_waited_for(server: FakeServer) -> None:
    server.fault("params", "lose")
    assert main(["set", "colour", "blue"]) == 0


def test_outside_a_task_it_says_what_is_missing() -> None:
    with pytest.raises(ConfigError, match="lacks PROVISIONER_TOKEN, PROVISIONER_MACHINE"):
        client_from({"PROVISIONER_URL": "http://x"})


def test_text_that_looks_like_json_is_printed_as_text() -> None:
    assert as_text("5") == "5"
    assert as_value(as_text({"a": 1})) == {"a": 1}
