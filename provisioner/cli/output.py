"""What commands show: tables and sentences for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from io import StringIO
from typing import Any, TextIO

import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

# Wider than any table: what goes into a pipe or a file is never cut or folded.
_UNLIMITED = 100_000


class Output:
    """Writes results to one stream and remarks to another; in `as_json` only JSON goes to the first."""

    def __init__(self, out: TextIO, remarks: TextIO, as_json: bool) -> None:
        self.as_json = as_json
        self._out = out
        self._remarks = remarks

    def json(self, value: Any) -> None:
        """A value for programs."""
        self._out.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")

    def json_line(self, value: Any) -> None:
        """One value of an endless row of them."""
        self._out.write(json.dumps(value, ensure_ascii=False) + "\n")
        self._out.flush()

    def line(self, text: str = "") -> None:
        """A sentence for people; nothing in JSON."""
        if not self.as_json:
            self._out.write(_clean(text) + "\n")
            self._out.flush()

    def text(self, text: str) -> None:
        """Lines for people that are a result themselves, such as a file."""
        self._out.write(_clean(text, keep="\n\t"))
        self._out.flush()

    def remark(self, text: str) -> None:
        """A word beside the result."""
        self._remarks.write(_clean(text) + "\n")
        self._remarks.flush()

    def raw(self, data: bytes) -> None:
        """Bytes as they are, such as a log."""
        self._out.flush()
        buffer = getattr(self._out, "buffer", None)
        if buffer is None:
            self._out.write(data.decode(errors="replace"))
        else:
            buffer.write(data)
            buffer.flush()
        self._out.flush()

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> None:
        """A table, or the sentence `empty` when there are no rows."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*(Text(_clean(_word(cell))) for cell in row))
        if not table.row_count:
            self.remark(empty)
            return
        self._print(table)

    def fields(self, values: Mapping[str, object]) -> None:
        """Names and values, one a line; empty ones are left out."""
        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in values.items():
            text = _word(value)
            if text:
                table.add_row(Text(name), Text(_clean(text, keep="\n")))
        self._print(table)

    def _print(self, table: Table) -> None:
        if self._out.isatty():
            Console(file=self._out).print(table)
            return
        console = Console(file=StringIO(), width=_UNLIMITED)
        with console.capture() as captured:
            console.print(table)
        self._out.writelines(f"{line.rstrip()}\n" for line in captured.get().splitlines())


def as_yaml(value: object) -> str:
    """A value of the API as an author would write it; text of several lines as a block."""
    return yaml.dump(value, Dumper=_Blocks, sort_keys=False, allow_unicode=True, width=100)


class _Blocks(yaml.SafeDumper):
    """Writes text of several lines as it is."""


def _text_node(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Blocks.add_representer(str, _text_node)


def _word(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_word, value))
    return str(value)


def _clean(text: str, keep: str = "") -> str:
    """Without control characters: what machines and operators name things must not steer a terminal."""
    return "".join(each if each.isprintable() or each in keep else "�" for each in text)
