"""Kernel command lines in the scripts of boot loaders: each word arrives as it was meant, or an error says why not.

A command line is words between blanks; double quotes hold blanks together, and nothing takes their meaning away: that
is all the kernel knows. iPXE knows even less. It splits at blanks, takes a word `||`, `&&` or `;` for the end of a
command and one that begins with `#` for a comment, and puts settings in the place of `${name}`, again and again until
there are none left. GRUB has quotes as a shell has, but puts a backslash before quotes and backslashes when it makes
the kernel's command line out of its words.
"""

from __future__ import annotations

import re

from jinja2 import TemplateRuntimeError

_BLANKS = " \t\n"
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_WORD = re.compile(r'(?:"[^"]*"|[^ \t\n"])+')
# What is never set is nothing where it stands, and what stands after it is no word of its own any more.
_NOTHING = "${nothing}"
_IPXE_OPERATORS = frozenset({"||", "&&", ";"})
_IPXE_SETTING = re.compile(r"\$\{[^ ]*\}")


class Inexpressible(TemplateRuntimeError):
    """A text cannot be written so that the boot loader or the kernel takes it as it is."""


def kernel_line(text: str) -> str:
    """A command line with one blank between words; line breaks are blanks. Raises Inexpressible."""
    control = _CONTROLS.search(text)
    if control is not None:
        raise Inexpressible(f"a kernel command line cannot hold the character {control[0]!r}")
    if text.count('"') % 2:
        raise Inexpressible("a double quote is never closed; the kernel would take all that follows for one word")
    words = _WORD.findall(text)
    for word in words:
        if "\n" in word:
            raise Inexpressible(
                f"{_shown(word)} has a line break between its quotes; a kernel command line has one line"
            )
    return " ".join(words)


def for_ipxe(text: str) -> str:
    """A text as words of an iPXE command, which sees them as they are with one blank between them."""
    if _CONTROLS.search(text) or "\n" in text.strip(_BLANKS):
        raise Inexpressible(f"{_shown(text)} has a line break or control character in it, which iPXE cannot take")
    for quoted in text.split('"')[1::2]:
        if "\t" in quoted or "  " in quoted:
            raise Inexpressible(f'"{_shown(quoted)}" has several blanks in a row, of which iPXE would leave one')
    words = re.findall(r"[^ \t\n]+", text)
    for word in words:
        if _IPXE_SETTING.search(word):
            raise Inexpressible(f"{_shown(word)}: iPXE would put one of its settings there, and has no way to quote it")
    line = " ".join(_NOTHING + word if word[0] == "#" or word in _IPXE_OPERATORS else word for word in words)
    # At the end of a line a backslash would join the next one to it.
    return line + _NOTHING if line.endswith("\\") else line


def shown_by_ipxe(text: str) -> str:
    """A text for people as words that iPXE prints on one line; blanks stand for what it would take for something else.

    Unlike `for_ipxe` it takes any text: to read nearly the same is better than to have no script.
    """
    plain = " ".join(_CONTROLS.sub(" ", text).split())
    return for_ipxe(plain.replace("${", "$ {"))


def for_grub(line: str) -> list[str]:
    """The words of a kernel command line as GRUB must have them, not quoted yet: it puts quotes of its own."""
    return [_grub_word(word) for word in _WORD.findall(kernel_line(line))]


def _grub_word(word: str) -> str:
    name, equals, value = word.partition("=")
    if len(value) > 1 and value[0] == value[-1] == '"':
        word = f"{name}={value[1:-1]}"
    elif len(word) > 1 and word[0] == word[-1] == '"':
        word = word[1:-1]
    if "\t" in word:
        raise Inexpressible(f"{_shown(word)} has a tab between its quotes, which GRUB does not quote again")
    wrong = next((letter for letter in "\"'\\" if letter in word), "")
    if wrong:
        raise Inexpressible(f"{_shown(word)}: GRUB would put a backslash before {wrong} for the kernel to see")
    return word


def _shown(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "..."
