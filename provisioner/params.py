"""Params: which value a machine has for each name, where it came from, and whether it fits its schema.

Precedence, highest first: machine > its profiles in order (nested ones depth-first) > stage > the stage's profiles >
profile `global` > the param's default. Params with `compose` are put together from all these layers instead.
`content` is kind -> name -> object everywhere; a `ContentSet` is one.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from jsonschema import Draft202012Validator, SchemaError, ValidationError
from msgspec import UNSET
from referencing import Registry
from referencing.exceptions import Unresolvable

from provisioner.errors import FieldError, unknown
from provisioner.model import GLOBAL_PROFILE, Machine, Param, Task

ContentView = Mapping[str, Mapping[str, Any]]

REDACTED = "********"
# A schema's complaint quotes the whole value, which may be a page long.
MESSAGE_LIMIT = 300


class Resolved(NamedTuple):
    """A value and the layer it came from: `machine`, `profile:NAME`, `stage:NAME` or `default`."""

    value: Any
    source: str


def resolve(machine: Machine, content: ContentView) -> dict[str, Resolved]:
    """All params that have a value for this machine, secure ones included: for use inside the server only."""
    found: dict[str, list[Resolved]] = {}
    for source, values in _layers(machine, content):
        for name, value in values.items():
            found.setdefault(name, []).append(Resolved(value, source))
    declared = content.get("params", {})
    return {name: _settle(declared.get(name), along) for name, along in sorted(found.items())}


def _layers(machine: Machine, content: ContentView) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each layer's source and values, highest precedence first; a profile counts where it is met first."""
    seen: set[str] = set()
    yield "machine", machine.params
    yield from _profiles(machine.profiles, content, seen)
    stage = content.get("stages", {}).get(machine.stage)
    if stage is not None:
        yield f"stage:{stage.name}", stage.params
        yield from _profiles(stage.profiles, content, seen)
    yield from _profiles((GLOBAL_PROFILE,), content, seen)
    declared = content.get("params", {}).values()
    yield "default", {param.name: param.default for param in declared if param.default is not UNSET}


def _profiles(names: Iterable[str], content: ContentView, seen: set[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name in names:
        profile = content.get("profiles", {}).get(name)
        if profile is None or name in seen:
            continue
        seen.add(name)
        yield f"profile:{name}", profile.params
        yield from _profiles(profile.profiles, content, seen)


def _settle(param: Param | None, along: list[Resolved]) -> Resolved:
    if param is None or not param.compose or len(along) == 1:
        return along[0]
    value = along[0].value
    for lower in along[1:]:
        value = _compose(value, lower.value)
    return Resolved(value, " + ".join(each.source for each in along))


def _compose(high: Any, low: Any) -> Any:
    """Maps merged key by key, lists joined without repeating, anything else: the higher one."""
    if isinstance(high, dict) and isinstance(low, dict):
        shared = {key: _compose(high[key], low[key]) for key in high.keys() & low.keys()}
        return {**low, **high, **shared}
    if isinstance(high, list) and isinstance(low, list):
        return high + [item for item in low if item not in high]
    return high


def for_task(task: Task, resolved: Mapping[str, Resolved], content: ContentView) -> dict[str, Any]:
    """What a job of this task is given: all plain params, and only those secure ones that the task declares."""
    declared = {*task.required_params, *task.optional_params}
    return {name: value for name, (value, _) in resolved.items() if name in declared or not _is_secure(name, content)}


def plain(resolved: Mapping[str, Resolved], content: ContentView) -> dict[str, Any]:
    """All values without the secure ones: for boot files, which anybody on the network can read."""
    return {name: value for name, (value, _) in resolved.items() if not _is_secure(name, content)}


def missing(required: Iterable[str], resolved: Mapping[str, Resolved], needed_by: str) -> list[FieldError]:
    """One error for each required param without a value; `needed_by` as in `task image-write`."""
    return [
        FieldError(f"params.{name}", f"{needed_by} needs param {name!r}, which has no value on this machine")
        for name in required
        if name not in resolved
    ]


def redact(values: Mapping[str, Any], content: ContentView) -> dict[str, Any]:
    """The same params with every secure value hidden: for display."""
    return {name: REDACTED if _is_secure(name, content) else value for name, value in values.items()}


def _is_secure(name: str, content: ContentView) -> bool:
    param = content.get("params", {}).get(name)
    return param is not None and param.secure


def validate(name: str, value: Any, param: Param) -> list[FieldError]:
    """What is wrong with `value`, each with the path to the wrong part. A secure value is never quoted."""
    validator = Draft202012Validator(param.schema, registry=Registry())
    try:
        errors = sorted(validator.iter_errors(value), key=lambda error: list(map(str, error.absolute_path)))
    except Unresolvable as error:
        return [FieldError(name, f"its schema points to something that is not there: {error}")]
    except RecursionError:
        return [FieldError(name, "its schema leads back to itself without end, or the value is nested too deeply")]
    return [FieldError(name + _path(error), _message(error, param.secure)) for error in errors]


def validate_all(values: Mapping[str, Any], content: ContentView) -> list[FieldError]:
    """What is wrong with a set of params, names that nobody declared included."""
    declared = content.get("params", {})
    errors: list[FieldError] = []
    for name, value in values.items():
        if name in declared:
            errors += validate(name, value, declared[name])
        else:
            errors.append(FieldError(name, unknown("param", name, declared)))
    return errors


def check_schema(param: Param) -> list[FieldError]:
    """What is wrong with the param itself: its schema is no JSON Schema, or its default does not fit it."""
    outside = sorted(ref for ref in _refs(param.schema) if not ref.startswith("#"))
    if outside:
        return [FieldError("schema", f"$ref {ref!r} leaves the schema; only '#...' is read") for ref in outside]
    try:
        Draft202012Validator.check_schema(param.schema)
    except SchemaError as error:
        return [FieldError("schema" + _path(error), _message(error, secure=False))]
    if param.default is UNSET:
        return []
    return [
        FieldError("default" + error.path.removeprefix(param.name), error.message)
        for error in validate(param.name, param.default, param)
    ]


def _refs(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"]
        for value in schema.values():
            yield from _refs(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _refs(value)


def _path(error: ValidationError | SchemaError) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.absolute_path)


def _message(error: ValidationError | SchemaError, secure: bool) -> str:
    if secure:
        return f"does not fit its schema ({error.validator}: {error.validator_value})"
    message = str(error.message)
    return message if len(message) <= MESSAGE_LIMIT else message[:MESSAGE_LIMIT] + "..."
