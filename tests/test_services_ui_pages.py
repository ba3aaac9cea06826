"""Templates and static files of the web UI."""

import re

import pytest
from jinja2 import UndefinedError

from provisioner.errors import NotFound
from provisioner.services.ui_pages import Asset, Assets, Page, Templates
from provisioner.shipped import tree

UI = tree("templates") / "ui"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "page.html.j2").write_text(
        '<link href="{{ asset(\'a.css\') }}">{% include "page/part.html.j2" %}'
    )
    (tmp_path / "page" / "part.html.j2").write_text("<p>{{ word }}</p>")
    return tmp_path


ASSETS = Assets({"a.css": Asset(b"p{}", "text/css")})
PAGE = Page("page", "/", ("part",))


def test_everything_is_escaped(folder):
    shown = Templates(folder, ASSETS).page(PAGE, {"word": "<script>alert(1)</script>"})
    assert "<p>&lt;script&gt;" in shown


def test_a_page_names_its_assets_with_their_version(folder):
    assert f'href="/static/{ASSETS.version}/a.css"' in Templates(folder, ASSETS).page(PAGE, {"word": ""})


def test_a_fragment_is_a_part_of_its_page(folder):
    templates = Templates(folder, ASSETS)
    part = templates.fragments(PAGE, ["part"], {"word": "x"})
    assert part == "<p>x</p>"
    assert part in templates.page(PAGE, {"word": "x"})


def test_an_unknown_fragment_names_those_there_are(folder):
    with pytest.raises(NotFound, match="unknown fragment 'page'; there is: part"):
        Templates(folder, ASSETS).fragments(PAGE, ["page"], {"word": ""})


def test_an_undefined_name_is_an_error(folder):
    with pytest.raises(UndefinedError, match="word"):
        Templates(folder, ASSETS).page(PAGE, {})


def test_the_version_changes_with_any_file():
    other = Assets({"a.css": Asset(b"p{ }", "text/css")})
    assert other.version != ASSETS.version
    assert Assets({"a.css": Asset(b"p{}", "text/css")}).version == ASSETS.version


def test_only_files_of_known_types_are_served(tmp_path):
    for name in ("a.css", "b.js", "c.svg", "secret.txt", ".hidden"):
        (tmp_path / name).write_text("x")
    found = Assets.read(tmp_path)
    assert found.find("b.js").content_type == "text/javascript"
    for name in ("secret.txt", ".hidden", "../a.css"):
        with pytest.raises(NotFound):
            found.find(name)


@pytest.mark.parametrize("path", sorted((UI / "static").iterdir()), ids=lambda path: path.name)
def test_no_static_file_asks_for_anything_elsewhere(path):
    text = path.read_text()
    assert not re.search(r"(https?:)?//(?!www\.w3\.org/2000/svg)[a-z0-9.-]+\.[a-z]{2,}", text)
    assert "@import" not in text
    assert "innerHTML" not in text


@pytest.mark.parametrize("path", sorted(UI.rglob("*.j2")), ids=lambda path: str(path.relative_to(UI)))
def test_no_template_has_inline_style_or_script_or_unescapes(path):
    text = path.read_text()
    assert not re.search(r"\sstyle=|\son[a-z]+=|<style|javascript:|\|\s*safe\b|autoescape", text)
    assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", text))


def luminance(colour):
    """WCAG 2.2, relative luminance of #rrggbb."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def colours(scheme):
    text = (UI / "static" / "base.css").read_text()
    light, _, dark = text.partition("@media (prefers-color-scheme: dark)")
    found = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", light))
    return found | (dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", dark)) if scheme == "dark" else {})


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_is_legible_on_every_ground(scheme):
    known = colours(scheme)
    states = ("working", "waiting", "failed", "complete", "absent")
    pairs = [(text, ground) for text in ("text", "muted", "faint", "accent", *states) for ground in ("bg", "sunken")]
    pairs += [(state, f"{state}-soft") for state in (*states, "accent")] + [("on-accent", "accent")]
    assert {
        pair: contrast(known[pair[0]], known[pair[1]])
        for pair in pairs
        if contrast(known[pair[0]], known[pair[1]]) < 4.5
    } == {}


def test_every_module_that_is_imported_exists():
    static = UI / "static"
    for path in static.glob("*.js"):
        for name in re.findall(r'from "\./([^"]+)"', path.read_text()):
            assert (static / name).is_file(), f"{path.name} imports {name}"
