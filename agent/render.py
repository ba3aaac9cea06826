"""The template dialect that server and agent share: sandboxed Jinja2 in which an undefined name is an error.

Blocks eat the newline after them and the blanks before them; the last newline of a source is kept; nothing is escaped.
A template sees the keys of its context, also inside macros that it imports, and these additions:

    param("name")            the value of a param; an error that names it when it has none
    param("name", default)   the same with a default
    x | tojson(indent)       JSON, plain (not fit for HTML), keys sorted
    x | fromjson             the value that JSON text stands for
    x | quote                one word for a shell
    x | b64encode            base64 of text (as UTF-8) or bytes; `b64decode` gives the text back
    x | sha256               hexadecimal digest of text (as UTF-8) or bytes
    x | ipxe                 words of an iPXE command, none of which means anything else to iPXE
    x | ipxe_text            a text for people on one line of an iPXE script, nearly as it is, whatever it holds
    x | kernel_words         list of the words of a kernel command line, as GRUB must have them before `quote`
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections import OrderedDict
from collections.abc import Iterator, Mapping, MutableMapping
from hashlib import sha256
from json import dumps, loads
from shlex import quote
from threading import Lock
from types import CodeType, TracebackType
from typing import Any, Callable, Optional, Union

from jinja2 import BaseLoader, Environment, StrictUndefined, Template, TemplateError, Undefined, UndefinedError
from jinja2.exceptions import TemplateNotFound, TemplateSyntaxError
from jinja2.nodes import Const, Expr, Extends, FromImport, Import, Include, List, Node, Tuple
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from .boot_words import for_grub, for_ipxe, shown_by_ipxe
from .errors import RenderError

# A compiled template takes about ten times its source; a thousand cover every template of a large installation.
CACHED_TEMPLATES = 1000

# Far more than any file needs, and little enough that a slip of the pen (`10 ** (10 ** 8)`) does not stop a server.
MOST_REPEATED = 10_000_000
MOST_BITS = 100_000
MOST_COUNTED = 1_000_000

_MISSING = object()


def _json_default(value: Any) -> Any:
    if isinstance(value, Undefined):
        str(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


def _as_bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def _to_json(value: Any, indent: Optional[int] = None) -> str:
    return dumps(value, indent=indent, sort_keys=True, ensure_ascii=False, default=_json_default)


FILTERS: dict[str, Callable[..., Any]] = {
    "tojson": _to_json,
    "fromjson": lambda value: loads(str(value)),
    "quote": lambda value: quote(str(value)),
    "b64encode": lambda value: b64encode(_as_bytes(value)).decode(),
    "b64decode": lambda value: b64decode(str(value)).decode(),
    "sha256": lambda value: sha256(_as_bytes(value)).hexdigest(),
    "ipxe": lambda value: for_ipxe(str(value)),
    "ipxe_text": lambda value: shown_by_ipxe(str(value)),
    "kernel_words": lambda value: for_grub(str(value)),
}


class CodeCache:
    """Compiled templates by the hash of name and source, the least recently used dropped first."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._codes: OrderedDict[bytes, CodeType] = OrderedDict()
        self._lock = Lock()

    def get(self, environment: Environment, name: str, source: str) -> CodeType:
        """The code of a template, compiled at most once while it stays in the cache."""
        key = sha256(f"{name}\0{source}".encode("utf-8", "surrogatepass")).digest()
        with self._lock:
            if key in self._codes:
                self._codes.move_to_end(key)
                return self._codes[key]
        code = environment.compile(source, name, name)
        with self._lock:
            self._codes[key] = code
            while len(self._codes) > self._size:
                self._codes.popitem(last=False)
        return code

    def __len__(self) -> int:
        return len(self._codes)


class _Loader(BaseLoader):
    """Finds templates in one mapping and compiles them through a cache that outlives it."""

    def __init__(self, templates: Mapping[str, str], codes: CodeCache) -> None:
        self._templates = templates
        self._codes = codes

    def load(self, environment: Environment, name: str, globals: Optional[MutableMapping[str, Any]] = None) -> Template:
        source = self._templates.get(name)
        if source is None:
            raise TemplateNotFound(name, f"there is no template {name!r}")
        code = self._codes.get(environment, name, source)
        return environment.template_class.from_code(environment, code, globals if globals is not None else {})


class _Sandbox(ImmutableSandboxedEnvironment):
    """A sandbox that also refuses to calculate what would take all time or memory."""

    intercepted_binops = frozenset({"*", "**"})

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if isinstance(left, int) and isinstance(right, int):
            bits = left.bit_length() * right if operator == "**" else left.bit_length() + right.bit_length()
            if bits > MOST_BITS:
                raise OverflowError(f"{operator} makes a number of more than {MOST_BITS} bits")
        elif operator == "*" and _repeated(left, right) > MOST_REPEATED:
            raise OverflowError(f"* repeats to more than {MOST_REPEATED} items")
        return super().call_binop(context, operator, left, right)


def _repeated(left: Any, right: Any) -> int:
    """How long a text or list multiplied by a number becomes; 0 for anything else."""
    for one, times in ((left, right), (right, left)):
        if isinstance(one, (str, bytes, list, tuple)) and isinstance(times, int):
            return len(one) * times
    return 0


def _counted_range() -> Callable[..., range]:
    """`range` for one rendering, which counts what all of them give together: loops may stand in loops."""
    left = MOST_COUNTED

    def counted(*args: int) -> range:
        nonlocal left
        found = range(*args)
        if len(found) > left:
            raise OverflowError(f"the ranges of a template give more than {MOST_COUNTED} numbers together")
        left -= len(found)
        return found

    return counted


def _make_environment() -> Environment:
    environment = _Sandbox(
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
        auto_reload=False,
        extensions=["jinja2.ext.loopcontrols"],
    )
    environment.filters.update(FILTERS)
    return environment


def _param_lookup(params: Mapping[str, Any], errors: Mapping[str, str]) -> Callable[..., Any]:
    def param(name: str, default: Any = _MISSING) -> Any:
        if name in errors:
            raise UndefinedError(errors[name])
        value = params.get(name, default)
        if value is _MISSING:
            raise UndefinedError(f"param {name!r} has no value for this machine and no default")
        return value

    return param


class Renderer:
    """Renders templates out of mappings; holds nothing but compiled code, so one serves all threads."""

    def __init__(self, cached_templates: int = CACHED_TEMPLATES) -> None:
        self._environment = _make_environment()
        self._codes = CodeCache(cached_templates)

    def render(self, name: str, templates: Mapping[str, str], context: Mapping[str, Any]) -> str:
        """The text of template `name`; it may include, import and extend others of `templates`.

        `context["params"]` is what `param()` looks into; `context["param_errors"]` maps params that have a value which
        cannot be used to the reason. Raises `RenderError` with template and line.
        """
        param = _param_lookup(context.get("params") or {}, context.get("param_errors") or {})
        names = {"param": param, "range": _counted_range(), **context}
        environment = self._environment.overlay(loader=_Loader(templates, self._codes))
        try:
            # As globals, not as variables, because imported macros see the globals of their importer only.
            return environment.get_template(name, globals=names).render()
        except Exception as error:  # whatever an expression in a template can raise is the template's fault
            raise _translate(error, name) from error

    def check(self, name: str, source: str) -> None:
        """Raises `RenderError` when the source is not a template."""
        try:
            self._codes.get(self._environment, name, source)
        except TemplateError as error:
            raise _translate(error, name) from error

    def reachable(self, name: str, templates: Mapping[str, str]) -> dict[str, str]:
        """Every template that rendering `name` can touch, itself among them, with its source.

        When one of them computes the name of another, that can be any: all templates are returned.
        Raises `RenderError` when one names a template that does not exist.
        """
        if name not in templates:
            raise RenderError(name, 0, f"there is no template {name!r}")
        found: dict[str, str] = {}
        waiting = [name]
        while waiting:
            current = waiting.pop()
            if current in found:
                continue
            found[current] = templates[current]
            for reference in self._references(current, templates[current]):
                if reference.is_computed:
                    return dict(templates)
                waiting += reference.existing(templates)
        return found

    def _references(self, name: str, source: str) -> Iterator[_Reference]:
        try:
            tree = self._environment.parse(source, name, name)
        except TemplateError as error:
            raise _translate(error, name) from error
        for node in tree.find_all(Node):
            if isinstance(node, (Extends, FromImport, Import, Include)):
                may_be_missing = isinstance(node, Include) and node.ignore_missing
                yield _Reference(name, node.lineno, _constant_names(node.template), may_be_missing)


class _Reference:
    """One place in a template that names others, of which the first that exists is taken."""

    def __init__(self, template: str, line: int, names: Optional[list[str]], may_be_missing: bool) -> None:
        self._template = template
        self._line = line
        self._names = names or []
        self._may_be_missing = may_be_missing
        self.is_computed = names is None

    def existing(self, templates: Mapping[str, str]) -> list[str]:
        """Those of the names that exist; raises `RenderError` when one must and none does."""
        existing = [name for name in self._names if name in templates]
        if not existing and not self._may_be_missing:
            wanted = " or ".join(repr(name) for name in self._names)
            raise RenderError(self._template, self._line, f"there is no template {wanted}")
        return existing


def _constant_names(node: Expr) -> Optional[list[str]]:
    """The template names an expression stands for; None when they are only known while rendering."""
    if isinstance(node, Const):
        return [node.value] if isinstance(node.value, str) else [str(name) for name in node.value]
    if isinstance(node, (List, Tuple)) and all(isinstance(item, Const) for item in node.items):
        return [item.value for item in node.items if isinstance(item, Const)]
    return None


def _translate(error: Exception, name: str) -> RenderError:
    if isinstance(error, TemplateSyntaxError):
        return RenderError(error.name or name, error.lineno, error.message or "syntax error")
    template, line = _place(error.__traceback__) or (name, 0)
    if isinstance(error, RecursionError):
        return RenderError(template, line, "templates or macros call each other without end")
    if isinstance(error, TemplateError):
        return RenderError(template, line, error.message or type(error).__name__)
    return RenderError(template, line, f"{type(error).__name__}: {error}")


def _place(traceback: Optional[TracebackType]) -> Optional[tuple[str, int]]:
    """Name and line of the innermost template in a traceback that Jinja2 has rewritten."""
    place: Optional[tuple[str, int]] = None
    while traceback is not None:
        names: dict[str, Union[str, Any]] = traceback.tb_frame.f_globals
        if "__jinja_exception__" in names:
            place = (names["__file__"], traceback.tb_lineno)
        traceback = traceback.tb_next
    return place
