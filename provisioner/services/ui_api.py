"""The browsable page of the API, made of the OpenAPI document."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_VERBS = {"get", "post", "put", "patch", "delete"}


def api_view(document: Mapping[str, Any], wanted: str) -> dict[str, Any]:
    """What the page shows: the operations by tag, of which all words that were asked for are in the text."""
    words = wanted.casefold().split()
    shown: dict[str, list[dict[str, Any]]] = {tag["name"]: [] for tag in document.get("tags", ())}
    for operation in _operations(document):
        if all(word in operation["text"] for word in words):
            shown[operation["tag"]].append(operation)
    described = {tag["name"]: tag["description"] for tag in document.get("tags", ())}
    groups = [{"name": name, "about": described[name], "operations": found} for name, found in shown.items() if found]
    return {
        "groups": groups,
        "wanted": wanted,
        "total": sum(len(found) for found in shown.values()),
        "schemas": document.get("components", {}).get("schemas", {}),
    }


def _operations(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for path, methods in document.get("paths", {}).items():
        for method, said in methods.items():
            if method in _VERBS:
                yield _operation(path, method, said)


def _operation(path: str, method: str, said: Mapping[str, Any]) -> dict[str, Any]:
    parameters = [
        {
            "name": each["name"],
            "where": each["in"],
            "type": _type(each["schema"]),
            "about": each.get("description", ""),
            "required": each.get("required", False),
        }
        for each in said["parameters"]
    ]
    content = said.get("requestBody", {}).get("content", {})
    bodies = [
        {"type": kind, "schema": _type(media["schema"]), "example": media.get("example")}
        for kind, media in content.items()
    ]
    # A list or a document opens in the browser as it is; a path with parts to fill in does not, nor a needed text.
    typed = any(each["schema"].get("minLength") for each in said["parameters"])
    names = " ".join(each["name"] for each in parameters)
    return {
        "id": said["operationId"],
        "tag": said["tags"][0],
        "method": method.upper(),
        "path": path,
        "summary": said["summary"],
        "description": said.get("description", ""),
        "parameters": parameters,
        "bodies": bodies,
        "answers": [_answer(status, answer) for status, answer in said["responses"].items()],
        "public": said.get("security") == [],
        "open": method == "get" and "{" not in path and "stream" not in path and not typed,
        "text": f"{method} {path} {said['summary']} {said['tags'][0]} {names}".casefold(),
    }


def _answer(status: str, answer: Mapping[str, Any]) -> dict[str, Any]:
    kinds = [f"{_type(media['schema'])}" for media in answer.get("content", {}).values()]
    return {"status": status, "about": answer["description"], "type": ", ".join(kinds)}


def _type(schema: Mapping[str, Any]) -> str:
    """A schema in a word or two."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(map(_type, schema["anyOf"]))
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items') or {})}"
    return str(schema.get("type", "any"))
