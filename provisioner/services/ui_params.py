"""Params of a machine as its page shows them: the value, and why it is that one. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from provisioner.model.content import Param
from provisioner.params import Why
from provisioner.services.ui_content import as_yaml

EFFECT_WORDS = {"used": "used", "composed": "put together", "overridden": "not used"}


class LayerRow(Struct, frozen=True):
    """What a layer says of a param, as text, and what becomes of it."""

    source: str
    origin: str
    effect: str
    words: str
    value: str


class ParamRow(Struct, frozen=True):
    """A param with its value as text, where that came from, and all that had a say in it, the nearest first."""

    name: str
    value: str
    source: str
    origin: str
    secure: bool
    description: str
    own: bool
    composed: bool
    expanded: bool
    layers: tuple[LayerRow, ...]
    error: str = ""


def param_rows(found: Mapping[str, Why], declared: Mapping[str, Param], own: Mapping[str, Any]) -> list[ParamRow]:
    """A row for each param that has a value; `own` are the machine's own ones."""
    return [_row(why, declared.get(name), name in own) for name, why in found.items()]


def _row(why: Why, param: Param | None, own: bool) -> ParamRow:
    layers = tuple(
        LayerRow(
            layer.source, layer.origin, layer.effect, EFFECT_WORDS.get(layer.effect, layer.effect), text(layer.value)
        )
        for layer in why.layers
    )
    return ParamRow(
        name=why.name,
        value=text(why.value),
        source=why.source,
        origin=why.origin,
        secure=why.secure,
        description=param.description if param is not None else "",
        own=own,
        composed=why.composed,
        expanded=why.expanded,
        layers=layers,
        error=why.error,
    )


def text(value: Any) -> str:
    """A value as people write it: text as it is, all else as YAML."""
    return value if isinstance(value, str) else as_yaml(value).removesuffix("...\n").strip()
