"""Kernel command lines through boot loaders: read back as iPXE, GRUB and the kernel read them."""

from __future__ import annotations

import re
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.boot_words import Inexpressible, for_grub, for_ipxe, kernel_line, shown_by_ipxe

NASTY = ["a=$b", "||", "&&", ";", "#x", "|| goto failed", "a=${", "x}", "$", "a;b", "`id`", "$(id)", "c:\\", "--x", "é"]


def kernel_reads(line: str) -> list[str]:
    """The words of a command line as the kernel splits it: quotes hold blanks together and are gone then."""
    return [word.replace('"', "") for word in re.findall(r'(?:"[^"]*"|[^ \t\n"])+', line)]


def ipxe_reads(command: str) -> list[list[str]]:
    """The commands of a line as iPXE takes it: blanks, then operators and comments, then settings (all empty here)."""
    commands: list[list[str]] = [[]]
    for token in command.split(" "):
        if token.startswith("#"):
            break
        if token in ("||", "&&", ";"):
            commands.append([])
            continue
        while True:
            end = token.find("}", token.find("${")) if "${" in token else -1
            if end < 0:
                break
            start = token.rfind("${", 0, end)
            token = token[:start] + token[end + 1 :]
        commands[-1].append(token)
    return commands


def grub_passes_on(words: list[str]) -> str:
    """The command line that GRUB makes of its words."""
    escaped = (re.sub(r"([\\'\"])", r"\\\1", word) for word in words)
    return " ".join(f'"{word}"' if " " in word else word for word in escaped)


def expressible(word: str) -> bool:
    return not re.search(r"\$\{[^ ]*\}", word)


WORDS = st.lists(
    st.sampled_from(NASTY) | st.text("ab=$|&;#{}\\'é", min_size=1, max_size=8).filter(expressible),
    min_size=1,
    max_size=5,
)
PLAIN = WORDS.map(
    lambda words: [word.replace("|| goto failed", '"||  goto failed"').replace("  ", " ") for word in words]
)


@given(PLAIN)
def test_ipxe_gives_the_kernel_every_word_as_it_is(words: list[str]) -> None:
    line = kernel_line(" ".join(words))
    commands = ipxe_reads(f"kernel URL {for_ipxe(line)} || goto failed")
    assert commands == [["kernel", "URL", *line.split(" ")], ["goto", "failed"]]


@given(st.lists(st.text("ab=$|&;# {}é", min_size=1, max_size=9).map(str.strip).filter(bool), min_size=1, max_size=5))
def test_grub_gives_the_kernel_every_word_as_it_is(words: list[str]) -> None:
    line = " ".join(f'"{word}"' if " " in word else word for word in words)
    passed = for_grub(line)
    quoted = " ".join(shlex.quote(word) for word in passed)
    assert shlex.split(quoted) == passed
    assert kernel_reads(grub_passes_on(passed)) == kernel_reads(line) == words


@pytest.mark.parametrize(
    ("text", "line"),
    [("quiet\n  splash \t x", "quiet splash x"), ('a="b  c"  d', 'a="b  c" d'), ("", ""), ("\n", "")],
)
def test_a_command_line_has_one_blank_between_words_and_quotes_as_they_are(text: str, line: str) -> None:
    assert kernel_line(text) == line


@pytest.mark.parametrize(
    ("text", "reason"),
    [("a\0b", "the character '\\x00'"), ("a\x1bb", "x1b"), ('a "b', "never closed"), ('"a\nb"', "line break")],
)
def test_what_is_no_command_line_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(Inexpressible, match=re.escape(reason)):
        kernel_line(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [("a=${net0/mac}", "settings"), ("${a${b}", "settings"), ('a="b  c"', "several blanks"), ("a\nb", "line break")],
)
def test_what_ipxe_cannot_take_is_refused(text: str, reason: str) -> None:
    with pytest.raises(Inexpressible, match=reason):
        for_ipxe(text)


@pytest.mark.parametrize("line", ["it's", 'a"b c"d', 'a="b""c"', "a\\b", '"a\tb"'])
def test_what_grub_would_change_is_refused(line: str) -> None:
    with pytest.raises(Inexpressible, match="GRUB"):
        for_grub(line)


@pytest.mark.parametrize(("line", "words"), [('a="b c" "d=e f" g="h"', ["a=b c", "d=e f", "g=h"]), ("", [])])
def test_grub_gets_words_without_quotes_for_it_puts_its_own(line: str, words: list[str]) -> None:
    assert for_grub(line) == words


@given(st.text() | st.text('ab=$|&;#{} \t\n\0\\"é'))
def test_any_text_can_be_shown_by_ipxe_and_is_nothing_but_text(text: str) -> None:
    (command,) = ipxe_reads(f"echo {shown_by_ipxe(text)}")
    letters = re.sub(r"[\x00-\x1f\x7f\s]", "", text)
    assert re.sub(r"\s", "", "".join(command)) == "echo" + letters


@pytest.mark.parametrize(
    ("text", "shown"),
    [("cards of ${net0/mac}", "cards of $ {net0/mac}"), ('a "b   c"\nd', 'a "b c" d'), ("as it is", "as it is")],
)
def test_what_would_mean_something_to_ipxe_is_shown_with_blanks(text: str, shown: str) -> None:
    assert shown_by_ipxe(text) == shown


def test_a_backslash_at_the_end_does_not_join_the_next_line() -> None:
    assert not for_ipxe("reason \\").endswith("\\")
