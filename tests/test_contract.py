"""The API keeps what its OpenAPI document promises: schemathesis makes up requests, right ones and wrong ones.

Every operation of the document is tried as an administrator against the whole server. Left out is only the event
stream, which has no end, and waits are cut short.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from requests import Session
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from provisioner.config import read_config
from provisioner.power.registry import PowerDrivers
from provisioner.server import Server, build
from provisioner.services.openapi import TAGS

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]
ENDLESS = ("/api/v1/events/stream",)
# Would end the token that all requests are sent with.
ONE_WAY = ("/api/v1/logout",)
EXAMPLES = 12
EACH = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize=True,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)


class Operator:
    """Somebody logged in to a running server."""

    def __init__(self, url: str, password: str) -> None:
        self.url = url
        self.http = Session()
        self.document = self.http.get(f"{url}/api/v1/openapi.json").json()
        answer = self.http.post(f"{url}/api/v1/login", json={"username": "admin", "password": password})
        self.http.headers["Authorization"] = f"Bearer {answer.json()['token']}"

    def send(self, method: str, path: str, body: Any = None) -> Any:
        """What a request is answered with."""
        answer = self.http.request(method, f"{self.url}/api/v1/{path}", json=body)
        return answer.json() if answer.content else None

    def furnish(self) -> dict[str, str]:
        """Make one of everything that has an example, and a job; returns what placeholders may stand for."""
        for place, methods in self.document["paths"].items():
            post = methods.get("post", {})
            example = post.get("requestBody", {}).get("content", {}).get("application/json", {}).get("example")
            if "{" not in place and example and place not in ("/api/v1/login", "/api/v1/bulk/machines"):
                self.send("POST", place.removeprefix("/api/v1/"), example)
        machine = self.send("GET", "machines/node-1")["id"]
        self.send("POST", f"machines/{machine}/hello", {"boot_id": "b", "bootenv": "local", "instance": "i"})
        self.send("PATCH", f"machines/{machine}?force=true", {"stage": "site-finish", "runnable": True})
        jobs = self.send("GET", "jobs?limit=1")["items"]
        if not jobs:
            for _ in range(3):
                self.send("POST", "jobs", {"machine": machine, "boot_id": "b", "instance": "i"})
            jobs = self.send("GET", "jobs?limit=1")["items"]
        return {"machine": machine, "job": jobs[0]["id"], "action": "power-status"}

    def named(self, place: str, known: dict[str, str]) -> dict[str, str]:
        """What the placeholders of a path stand for, so that there is something to be found."""
        collection, _, rest = place.removeprefix("/api/v1/").partition("/{")
        name = rest.partition("}")[0]
        if not rest or name in known or collection in ("tokens", "users"):
            return known
        items = self.send("GET", f"{collection}?limit=1&sort=-{name}").get("items")
        return known | ({name: items[0][name]} if items else {})


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    folder: Path = tmp_path_factory.mktemp("contract")
    flags = {"data_dir": str(folder), "listen.ui": "127.0.0.1:0", "listen.http": "127.0.0.1:0"}
    config = read_config(flags | {"listen.dhcp": "off", "listen.tftp": "off"}, {})
    server: Server = build(config, {}, version="test", drivers=PowerDrivers({}))
    loop, said = asyncio.new_event_loop(), list[str]()
    thread = Thread(target=lambda: loop.run_until_complete(server.run(said.append, {})))
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.port('ui')}"
        # The socket is bound already: the request waits until the server has begun.
        with Session() as session:
            session.get(f"{url}/readyz")
        yield Operator(url, said[0].split("password ")[1].split("\n")[0])
    finally:
        loop.call_soon_threadsafe(server.stop)
        thread.join()
        loop.close()


def operations(document: dict[str, Any], tag: str) -> list[Any]:
    schema = schemathesis.openapi.from_dict(document)
    found = [result.ok() for result in schema.get_all_operations()]
    wanted = [each for each in found if tag in each.tags and each.path not in (*ENDLESS, *ONE_WAY)]
    assert wanted or tag not in {each["name"] for each in document["tags"]}
    return wanted


def bounded(case: Any, names: dict[str, str]) -> Any:
    """The case with real names in its path, and no time to wait."""
    for name in case.path_parameters or {}:
        if name in names:
            case.path_parameters[name] = names[name]
    query = case.query if isinstance(case.query, dict) else {}
    if isinstance(query.get("wait"), int):
        query["wait"] = 0
    return case


def attempt(operation: Any, operator: Operator) -> str:
    """Send many requests; returns what was wrong with the first answer that broke a promise."""
    names = operator.named(operation.path, operator.furnish())
    modes = st.sampled_from([GenerationMode.POSITIVE, GenerationMode.NEGATIVE])

    @EACH
    @given(modes.flatmap(lambda mode: operation.as_strategy(generation_mode=mode)), st.booleans())
    def tried(case: Any, real: bool) -> None:
        sent = bounded(case, names if real else {})
        answer = sent.call(base_url=operator.url, session=operator.http)
        sent.validate_response(answer, checks=CHECKS)

    try:
        tried()
    except FailureGroup as failures:
        return f"{operation.label}: {[str(each) for each in failures.exceptions]}"
    return ""


@pytest.mark.parametrize("tag", TAGS)
def test_every_request_is_answered_as_the_document_says(operator: Operator, tag: str) -> None:
    broken = [attempt(operation, operator) for operation in operations(operator.document, tag)]
    assert [each for each in broken if each] == []
