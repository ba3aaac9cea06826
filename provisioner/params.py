"""Params: which value a machine has for each name, where it came from, and whether it fits its schema.

Precedence, highest first: machine > its profiles in order (nested ones depth-first) > stage > the stage's profiles >
profile `global` > the param's default. Params with `compose` are put together from all these layers instead.
`content` is kind -> name -> object everywhere; a `ContentSet` is one.

A secure value is kept sealed, as `{"$sealed": TEXT}`; nothing here can open it. A value once sealed counts as secure
whatever its param says now, until it is set anew.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

from jsonschema import Draft202012Validator, SchemaError, ValidationError
from msgspec import UNSET, Struct
from msgspec.structs import replace
from referencing import Registry
from referencing.exceptions import Unresolvable

from provisioner.errors import FieldError, unknown
from provisioner.model.content import GLOBAL_PROFILE, NO_STAGE, Content, Param, Profile, Stage
from provisioner.model.machines import Machine
from provisioner.schema_words import said_of

T = TypeVar("T")
ContentView = Mapping[str, Mapping[str, Any]]

REDACTED = "********"
SEAL = "$sealed"
# A schema's complaint quotes the whole value, which may be a page long.
MESSAGE_LIMIT = 300
# Machines of a fleet share a few sets of profiles and stages; beyond that, working it out again is cheap.
_SHARED_LIMIT = 1000
_TEMPLATE_MARKS = ("{{", "{%", "{#")


class Layer(NamedTuple):
    """One layer's value for a param. `origin` is `machine`, `pack NAME` or `api edit`."""

    source: str
    origin: str
    value: Any


class Resolved(NamedTuple):
    """A value and the layer it came from: `machine`, `profile:NAME`, `stage:NAME` or `default`.

    `layers` are all that have a value, the nearest first. The value of a composed param with a sealed layer is that
    of the nearest layer: it can be put together only by who can open it.
    """

    value: Any
    source: str
    layers: tuple[Layer, ...] = ()


class WhyLayer(Struct, frozen=True):
    """What a layer says, and what becomes of it: `used`, `composed` with others, or `overridden` by a nearer one."""

    source: str
    origin: str
    effect: str
    value: Any


class Why(Struct, frozen=True):
    """Why a machine has this value for a param; secure values are hidden. `error`: why it cannot be expanded."""

    name: str
    value: Any
    source: str
    origin: str
    secure: bool
    composed: bool
    expanded: bool
    layers: tuple[WhyLayer, ...]
    error: str = ""


class _Shared(NamedTuple):
    """What machines with the same profiles and stage have in common: everything but their own params."""

    layers: dict[str, tuple[Layer, ...]]
    resolved: dict[str, Resolved]


class Params:
    """The params of one content in force; remembers what machines share, so that it is worked out once."""

    def __init__(self, content: ContentView) -> None:
        self.content = content
        self.declared: Mapping[str, Param] = content.get("params", {})
        self._shared: dict[tuple[tuple[str, ...], str], _Shared] = {}

    def resolve(self, machine: Machine) -> dict[str, Resolved]:
        """Every param that has a value for this machine, by name in order; secure values are sealed."""
        shared = self._shared_by(machine)
        found = dict(shared.resolved)
        for name, value in machine.params.items():
            layers = (Layer("machine", "machine", value), *shared.layers.get(name, ()))
            found[name] = _settle(self.declared.get(name), layers)
        if len(found) > len(shared.resolved):
            return dict(sorted(found.items()))
        return found

    def value(self, machine: Machine | None, name: str) -> Any:
        """What `resolve` gives for one param; None when it has none. An unknown machine (None) has none of its own."""
        shared = self._shared_by(machine) if machine is not None else self._shared_of((), NO_STAGE)
        if machine is not None and name in machine.params:
            layers = (Layer("machine", "machine", machine.params[name]), *shared.layers.get(name, ()))
            return _settle(self.declared.get(name), layers).value
        found = shared.resolved.get(name)
        return found.value if found is not None else None

    def _shared_by(self, machine: Machine) -> _Shared:
        return self._shared_of(machine.profiles, machine.stage)

    def _shared_of(self, profiles: tuple[str, ...], stage: str) -> _Shared:
        key = (profiles, stage)
        known = self._shared.get(key)
        if known is None:
            if len(self._shared) >= _SHARED_LIMIT:
                self._shared.clear()
            known = self._shared[key] = self._work_out(*key)
        return known

    def _work_out(self, profiles: tuple[str, ...], stage: str) -> _Shared:
        found: dict[str, tuple[Layer, ...]] = {}
        for source, origin, values in _layers(profiles, stage, self.content):
            for name, value in values.items():
                found[name] = (*found.get(name, ()), Layer(source, origin, value))
        settled = {name: _settle(self.declared.get(name), layers) for name, layers in sorted(found.items())}
        return _Shared(found, settled)

    def is_secure(self, name: str, found: Resolved) -> bool:
        """Whether this value is hidden: its param is secure, or a layer that is in it is sealed."""
        param = self.declared.get(name)
        if param is not None and param.secure:
            return True
        counted = found.layers if param is not None and param.compose else found.layers[:1]
        return is_sealed(found.value) or any(is_sealed(layer.value) for layer in counted)


def resolve(machine: Machine, content: ContentView) -> dict[str, Resolved]:
    """All params that have a value for this machine, worked out from nothing."""
    return Params(content).resolve(machine)


def why(machine: Machine, content: ContentView) -> dict[str, Why]:
    """For each param the value as it is written, the layer and the pack it came from, and the layers below."""
    params = Params(content)
    return {name: explain(name, found, params) for name, found in params.resolve(machine).items()}


def explain(name: str, found: Resolved, params: Params) -> Why:
    """Why this is the value of a param, nothing expanded."""
    param = params.declared.get(name)
    secure = params.is_secure(name, found)
    composes = param is not None and param.compose
    effects = _effects(found.layers, composes)
    layers = tuple(
        WhyLayer(layer.source, layer.origin, effect, REDACTED if secure else layer.value)
        for layer, effect in zip(found.layers, effects, strict=True)
    )
    return Why(
        name=name,
        value=REDACTED if secure else found.value,
        source=found.source,
        origin=found.layers[0].origin,
        secure=secure,
        composed="composed" in effects,
        expanded=param is not None and param.expand and has_template(found.value),
        layers=layers,
    )


def _effects(layers: tuple[Layer, ...], composes: bool) -> list[str]:
    effects = ["used", *("overridden" for _ in layers[1:])]
    if not composes:
        return effects
    value = layers[0].value
    for place, lower in enumerate(layers[1:], 1):
        # What is sealed does not show its shape; whoever declared it composable meant it so.
        if is_sealed(value) or is_sealed(lower.value) or _fit_together(value, lower.value):
            effects[0] = effects[place] = "composed"
    return effects


def _layers(
    profiles: tuple[str, ...], stage: str, content: ContentView
) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Source, origin and values of each layer below the machine, nearest first; a profile counts where first met."""
    seen: set[str] = set()
    yield from _profiles(profiles, content, seen)
    found = content.get("stages", {}).get(stage)
    if found is not None:
        yield f"stage:{found.name}", _origin(found), found.params
        yield from _profiles(found.profiles, content, seen)
    yield from _profiles((GLOBAL_PROFILE,), content, seen)
    for param in content.get("params", {}).values():
        if param.default is not UNSET:
            yield "default", _origin(param), {param.name: param.default}


def _profiles(
    names: Iterable[str], content: ContentView, seen: set[str]
) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for name in names:
        profile = content.get("profiles", {}).get(name)
        if profile is None or name in seen:
            continue
        seen.add(name)
        yield f"profile:{name}", _origin(profile), profile.params
        yield from _profiles(profile.profiles, content, seen)


def _origin(value: Content) -> str:
    return f"pack {value.pack}" if value.pack else "api edit"


def _settle(param: Param | None, layers: tuple[Layer, ...]) -> Resolved:
    nearest = layers[0]
    if param is None or not param.compose or len(layers) == 1 or any(is_sealed(layer.value) for layer in layers):
        return Resolved(nearest.value, nearest.source, layers)
    return Resolved(compose(layer.value for layer in layers), " + ".join(layer.source for layer in layers), layers)


def compose(values: Iterable[Any]) -> Any:
    """Values put together, the nearest first: maps merged key by key, lists joined without repeating."""
    ordered = iter(values)
    value = next(ordered)
    for lower in ordered:
        value = _compose(value, lower)
    return value


def _fit_together(high: Any, low: Any) -> bool:
    return (isinstance(high, dict) and isinstance(low, dict)) or (isinstance(high, list) and isinstance(low, list))


def _compose(high: Any, low: Any) -> Any:
    """Maps merged key by key, lists joined without repeating, anything else: the higher one."""
    if isinstance(high, dict) and isinstance(low, dict):
        shared = {key: _compose(high[key], low[key]) for key in high.keys() & low.keys()}
        return {**low, **high, **shared}
    if isinstance(high, list) and isinstance(low, list):
        return high + [item for item in low if item not in high]
    return high


# --- secrets --------------------------------------------------------------------------------------------------


def is_sealed(value: Any) -> bool:
    """Whether a value is kept sealed."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get(SEAL), str)


def redact(values: Mapping[str, Any], content: ContentView) -> dict[str, Any]:
    """The same params with every secure value hidden: for display."""
    declared = content.get("params", {})

    def hidden(name: str, value: Any) -> bool:
        return is_sealed(value) or (name in declared and declared[name].secure)

    return {name: REDACTED if hidden(name, value) else value for name, value in values.items()}


def change_values(value: T, change: Callable[[str, Any], Any]) -> T:
    """A machine, profile, stage or param with `change(name, value)` for each value in it; itself if none differs."""
    if isinstance(value, Param):
        if value.default is UNSET:
            return value
        default = change(value.name, value.default)
        return value if default is value.default else replace(value, default=default)
    if isinstance(value, Machine | Profile | Stage):
        params = {name: change(name, old) for name, old in value.params.items()}
        same = all(params[name] is old for name, old in value.params.items())
        return value if same else replace(value, params=params)
    return value


def hide(value: T) -> T:
    """A machine or content object with what is sealed in it hidden."""
    return change_values(value, lambda name, each: REDACTED if is_sealed(each) else each)


def has_template(value: Any) -> bool:
    """Whether there is a template in the value: in a text, or in one inside of maps and lists."""
    if isinstance(value, str):
        return any(mark in value for mark in _TEMPLATE_MARKS)
    if isinstance(value, dict):
        return any(map(has_template, value.values()))
    return isinstance(value, list) and any(map(has_template, value))


def template_texts(path: str, value: Any) -> Iterator[tuple[str, str]]:
    """Every text in a value that is a template, with its path."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from template_texts(f"{path}.{key}", inner)
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from template_texts(f"{path}[{place}]", inner)
    elif isinstance(value, str) and has_template(value):
        yield path, value


# --- checking -------------------------------------------------------------------------------------------------


def missing(required: Iterable[str], resolved: Iterable[str], needed_by: str) -> list[FieldError]:
    """One error for each required param without a value; `needed_by` as in `task image-write`."""
    return [
        FieldError(f"params.{name}", f"{needed_by} needs param {name!r}, which has no value on this machine")
        for name in required
        if name not in resolved
    ]


def validate(name: str, value: Any, param: Param) -> list[FieldError]:
    """What is wrong with `value`, each with the path to the wrong part. A secure value is never quoted.

    What a param with `expand` will be is not known where it holds a template; that part is checked when it is expanded.
    """
    if is_sealed(value):
        return [FieldError(name, f"a value may not be a map of {SEAL!r} alone: that is how sealed values are kept")]
    validator = Draft202012Validator(param.schema, registry=Registry())
    try:
        errors = sorted(validator.iter_errors(value), key=lambda error: list(map(str, error.absolute_path)))
        if param.expand:
            errors = [error for error in errors if not has_template(error.instance)]
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
    message = said_of(error)
    return message if len(message) <= MESSAGE_LIMIT else message[:MESSAGE_LIMIT] + "..."
