"""A request and a reply, and what all readers of answers share."""

import json

import pytest

from agent.errors import Nonsense
from agent.messages import Reply, json_request, understand


def test_a_request_of_the_api_is_json() -> None:
    request = json_request("PUT", "/x", {"a": 1}, timeout_seconds=5.0)
    assert (request.method, request.path, json.loads(request.body)) == ("PUT", "/api/v1/x", {"a": 1})
    assert (request.content_type, request.timeout_seconds) == ("application/json", 5.0)


def test_a_reply_without_a_body_is_none() -> None:
    assert Reply(204, {}, b"").json() is None


@pytest.mark.parametrize("body", [b"{", b"\xff", b"[" * 200_000])
def test_a_body_that_cannot_be_read_is_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        Reply(200, {}, body).json()


@pytest.mark.parametrize("answer", [None, {}, [], {"size": "x"}, {"size": float("inf")}, {"size": None}])
def test_an_answer_that_lacks_what_it_must_have_is_nonsense(answer: object) -> None:
    with pytest.raises(Nonsense, match="cannot understand the server's size"):
        understand(lambda reply: int(reply["size"]), answer, "size")
