"""docs/content.md says what the code does: its example pack loads, its tables are complete."""

import re
from pathlib import Path

import pytest
from msgspec.structs import fields

from agent.exits import CODES
from agent.helpers import FUNCTIONS
from agent.render import FILTERS
from provisioner.content.templating import BOOT_NAMES, TASK_NAMES
from provisioner.content.whole import build
from provisioner.model.content import CONTENT_KINDS, Content
from provisioner.packs import check, load_shipped, parse_bundle

TEXT = Path("docs/content.md").read_text(encoding="utf-8")
SHARED = {each.name for each in fields(Content)}


def section(title: str) -> str:
    return TEXT.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def rows(text: str) -> list[list[str]]:
    """The cells of all tables, without their heads."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return [row for place, row in enumerate(cells) if "---" not in row[0] and not _is_head(cells, place)]


def _is_head(cells: list[list[str]], place: int) -> bool:
    return place + 1 < len(cells) and "---" in cells[place + 1][0]


def words(cell: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", cell))


def example_files() -> dict[str, str]:
    return dict(
        re.findall(r"^`([\w./-]+)`\n\n```\w+\n(.*?)^```", section("A pack in five files"), re.MULTILINE | re.DOTALL)
    )


def test_the_example_pack_has_no_problems(tmp_path: Path) -> None:
    files = example_files()
    assert {"pack.yaml", "templates/site/motd.j2", "workflows/deploy-site.yaml"} <= set(files)
    for name, text in files.items():
        path = tmp_path / "site" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert check([tmp_path / "site"]) == []


def test_the_example_bundle_has_no_problems() -> None:
    (text,) = re.findall(r"```yaml\n(name: tiny.*?)```", TEXT, re.DOTALL)
    assert build([*load_shipped(), parse_bundle(text, "tiny.yaml")])["tasks"]["nap"].pack == "tiny"


@pytest.mark.parametrize("kind", CONTENT_KINDS)
def test_every_field_of_every_kind_is_told(kind: str) -> None:
    told: dict[str, set[str]] = {}
    current = ""
    for row in rows(section("Objects and their fields")):
        current = row[0] or current
        told.setdefault(current, set()).update(words(row[1]))
    own = {each.name for each in fields(CONTENT_KINDS[kind])} - SHARED
    assert told[kind] == own


def test_every_name_of_the_template_contexts_is_told() -> None:
    task_table, boot_table = section("Templates").split("What the templates of a **boot environment**")
    assert {word for row in rows(task_table) for word in words(row[0])} == TASK_NAMES
    assert {word for row in rows(boot_table) for word in words(row[0])} == BOOT_NAMES


def test_every_filter_is_told() -> None:
    assert set(FILTERS) <= words(section("Templates"))


def test_every_exit_code_is_told() -> None:
    assert {int(row[0]) for row in rows(section("Scripts")) if row[0].isdigit()} == set(CODES)


def test_every_helper_word_is_told() -> None:
    functions = set(re.findall(r"^(\w+)\(\)", FUNCTIONS, re.MULTILINE))
    told = {word.split()[0] for row in rows(section("Scripts")) for word in words(row[0])}
    assert functions <= told


def test_every_shipped_param_is_told() -> None:
    told = {next(iter(words(row[0]))): row[1] for row in rows(section("What ships"))}
    assert told == {name: param.description for name, param in build(load_shipped())["params"].items()}
