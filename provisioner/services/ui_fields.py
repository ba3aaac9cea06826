"""Fields of a form: how a value is shown in one, how it is read from what was posted, and where faults are said."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct

from provisioner.errors import FieldError, Invalid, ProvisionerError

_SEPARATORS = str.maketrans(",\n", "  ")
_DURATION = re.compile(r"([0-9]{1,20})\s*([smhdw]?)")
_UNITS = {"w": 604_800, "d": 86_400, "h": 3600, "m": 60}


class Field(Struct, frozen=True):
    """One field of a form, in the section of that title ('' is the part that always shows).

    `kind` is text, seconds, list (words), choice, switch or options (a line for each).
    """

    name: str
    label: str
    kind: str = "text"
    hint: str = ""
    choices: tuple[str, ...] = ()
    section: str = ""

    def shown(self, value: Any) -> str:
        """The value as it stands in the form."""
        match self.kind:
            case "list":
                return ", ".join(value)
            case "options":
                return "\n".join(f"{name} = {text}" for name, text in value.items())
            case "switch":
                return "yes" if value else ""
            case "seconds":
                fitting = (unit for unit, size in _UNITS.items() if value and value % size == 0)
                unit = next(fitting, "")
                return f"{value // _UNITS.get(unit, 1)}{unit}"
        return str(value)

    def read(self, form: Mapping[str, str]) -> Any:
        """The value that stands in a posted form; raises Invalid."""
        text = form.get(self.name, "").strip()
        match self.kind:
            case "seconds":
                return self._seconds(text)
            case "list":
                return text.translate(_SEPARATORS).split()
            case "options":
                return self._options(text)
            case "switch":
                return bool(text)
        return text

    def _seconds(self, text: str) -> int:
        found = _DURATION.fullmatch(text)
        if found is None:
            raise self._wrong(f"{text!r} is no time" if text else "is empty", "write seconds, or 90m, 12h, 7d")
        number, unit = found.groups()
        return int(number) * _UNITS.get(unit, 1)

    def _options(self, text: str) -> dict[str, str]:
        options: dict[str, str] = {}
        for line in filter(str.strip, text.splitlines()):
            name, equals, value = (part.strip() for part in line.partition("="))
            if not (name and equals and value):
                raise self._wrong(f"{line.strip()!r} is no option", "write a line as ntp-servers = 10.0.0.1")
            if name in options:
                raise self._wrong(f"{name} is said twice", "put several values in one line, with commas between them")
            options[name] = value
        return options

    def _wrong(self, what: str, instead: str) -> Invalid:
        message = f"{what}; {instead}"
        return Invalid(f"{self.name}: {message}", fields=(FieldError(self.name, message),))


class Filled(Struct, frozen=True):
    """A field with what stands in it and what is wrong with that, '' when nothing is known to be."""

    field: Field
    value: str
    wrong: str = ""


class Section(Struct, frozen=True):
    """Fields that belong together; those with a title fold away, and are `open` when there is something to see."""

    title: str
    open: bool
    fields: tuple[Filled, ...]


def read_all(fields: Iterable[Field], form: Mapping[str, str]) -> dict[str, Any]:
    """The values of all fields of a posted form; raises Invalid naming each that cannot be read."""
    values: dict[str, Any] = {}
    faults: list[FieldError] = []
    for each in fields:
        try:
            values[each.name] = each.read(form)
        except Invalid as error:
            faults.extend(error.fields)
    if faults:
        raise Invalid("; ".join(f"{each.path}: {each.message}" for each in faults), fields=tuple(faults))
    return values


def sections(
    fields: Iterable[Field], values: Mapping[str, str], usual: Mapping[str, str], wrong: Mapping[str, str]
) -> list[Section]:
    """The form's sections in order, what is `wrong` at its field; one in which all is as `usual` is closed."""
    found: dict[str, list[Filled]] = {}
    for each in fields:
        filled = Filled(each, values.get(each.name, ""), wrong.get(each.name, ""))
        found.setdefault(each.section, []).append(filled)
    return [Section(title, _telling(its, usual), tuple(its)) for title, its in found.items()]


def _telling(filled: Iterable[Filled], usual: Mapping[str, str]) -> bool:
    return any(each.wrong or each.value != usual.get(each.field.name, "") for each in filled)


def wrong_by_field(error: ProvisionerError, fields: Iterable[Field]) -> tuple[dict[str, str], str]:
    """What is wrong by field, in the form's own words; and as a sentence what belongs to none of its fields."""
    labels = {each.name: each.label for each in fields}
    by_field: dict[str, list[str]] = {}
    for fault in error.fields:
        name, inner = _split(fault.path)
        if name not in labels:
            return {}, _sentence(error.message)
        by_field.setdefault(name, []).append(_labelled(f"{inner}: {fault.message}" if inner else fault.message, labels))
    if not by_field:
        return {}, _sentence(_labelled(error.message, labels))
    return {name: _sentence("; ".join(said)) for name, said in by_field.items()}, ""


def _split(path: str) -> tuple[str, str]:
    """The field of a path, and the key within it: `options.42` is `42` in `options`, `pickers[0]` is no key."""
    name, _, inner = path.partition(".")
    return name.partition("[")[0], inner


def _labelled(text: str, labels: Mapping[str, str]) -> str:
    """The text with the names that programs have for fields, which have an underscore, made into what people read."""
    return re.sub(r"\b[a-z]+(?:_[a-z]+)+\b", lambda found: f"“{labels.get(found[0], found[0])}”", text)


def _sentence(text: str) -> str:
    begun = text[:1].upper() + text[1:] if re.match(r"[a-z]+[ ,;']", text) else text
    return begun if begun.endswith((".", "!", "?")) else f"{begun}."
