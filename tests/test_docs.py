"""README and docs/ say what the code does: settings, commands, routes, verbs and pictures."""

import re
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path

import msgspec
import pytest

from provisioner.cli.command import Command
from provisioner.cli.exits import MEANINGS
from provisioner.cli.parser import GROUPS
from provisioner.config import SETTINGS, Config, read_config
from provisioner.firmware import ARCHS, Platform
from provisioner.loaders import LOADERS, NO_LOADER, order, signed_second
from provisioner.model.content import CONTENT_KINDS
from provisioner.quirks import Match, Quirk
from provisioner.server import Server, build

ROOT = Path(__file__).resolve().parent.parent
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
LARGEST_PICTURE_BYTES = 300_000


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def rows(name: str) -> list[list[str]]:
    """The cells of all table rows of a page; a `\\|` inside a cell is no border."""
    lines = [line.strip().strip("|") for line in text(name).splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)] for line in lines]


def first_words(name: str) -> list[str]:
    """What stands in backquotes at the beginning of each row."""
    found = (re.match(r"`([^`]+)`", row[0]) for row in rows(name))
    return [match[1] for match in found if match]


def code_of(name: str) -> list[str]:
    """Lines of all code: indented blocks and fenced ones."""
    fenced = re.findall(r"^```\w*\n(.*?)^```", text(name), re.MULTILINE | re.DOTALL)
    indented = re.findall(r"^    (.*)$", text(name), re.MULTILINE)
    return [*"\n".join(fenced).splitlines(), *indented]


def verbs() -> set[str]:
    return set(re.findall(r"^([a-z0-9-]+):", text("Makefile"), re.MULTILINE))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    flags = {"data_dir": str(tmp_path), "listen.http": "127.0.0.1:0", "listen.ui": "127.0.0.1:0"}
    made = build(read_config(flags | {"listen.dhcp": "off", "listen.tftp": "off"}, {}), {}, version="test")
    yield made
    for sock in made.sockets.values():
        sock.close()
    made.parts.logs.close()
    made.parts.tokens.close()


def test_every_setting_is_documented_with_its_default() -> None:
    told = {row[0].strip("`"): row[1].strip("`") for row in rows("docs/settings.md") if row[0].startswith("`")}
    assert told == {setting.name: setting.default for setting in SETTINGS}


def test_the_example_configuration_is_valid(tmp_path: Path) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", text("docs/settings.md"), re.DOTALL)
    password = tmp_path / "admin-password"
    password.write_text("secret\n")
    file = tmp_path / "config.yaml"
    file.write_text(
        example.replace("/etc/provisioner/packs/site", str(tmp_path)).replace(
            "/etc/provisioner/admin-password", str(password)
        )
    )
    config: Config = read_config({}, {}, file)
    assert config.admin_password == "secret"
    assert config["dhcp.subnets"][0].pool_start == "10.0.0.100"


def test_every_command_is_documented() -> None:
    assert first_words("docs/cli.md") == list(GROUPS)


@pytest.mark.parametrize("group", GROUPS)
def test_every_verb_of_a_command_is_documented(group: str) -> None:
    commands = GROUPS[group].load()
    if isinstance(commands, Command):
        return
    told = " ".join(next(row[1] for row in rows("docs/cli.md") if row[0] == f"`{group}`").split("`")[1::2])
    assert [command.name for command in commands if command.name not in told.split()] == []


def test_every_sentence_on_stuck_machines_is_one_that_the_server_says() -> None:
    speak = ("services/ui_machines", "conductor/machine_changes", "plan", "claims", "endings")
    says = "".join(text(f"provisioner/{module}.py") for module in speak)
    table = text("docs/operating.md").partition("\n## A machine is stuck\n")[2].partition("\n\nA machine that never")[0]
    told = re.findall(r"^\| `(.*?)` \|", table, re.MULTILINE)
    parts = [part.strip() for sentence in told for part in re.split("…|waits: ", sentence)]
    assert len(told) > 10
    assert [part for part in parts if part not in says] == []


def test_the_units_hand_over_every_socket_that_the_server_knows() -> None:
    names = re.findall(r"^FileDescriptorName=(\w+)$", text("docs/operating.md"), re.MULTILINE)
    listeners = [setting.name.partition(".")[2] for setting in SETTINGS if setting.name.startswith("listen.")]
    assert sorted(names) == sorted(listeners)


def test_exit_codes_are_documented() -> None:
    told = {row[0]: row[1] for row in rows("docs/cli.md") if row[0].isdigit()}
    assert told == {str(code.value): meaning for code, meaning in MEANINGS.items()}


def spelled_out(word: str) -> list[str]:
    """A documented route, once for each kind of content where it is told for all of them."""
    general = word.partition(" ")[2].startswith("/api/v1/{kind}")
    return [word.replace("{kind}", kind) for kind in CONTENT_KINDS] if general else [word]


async def test_every_route_is_documented_and_no_other(server: Server) -> None:
    routes = {
        f"{route.method} {route.resource.canonical}"
        for _, app in server._apps()
        for route in app.router.routes()
        if route.method != "HEAD" and route.resource is not None
    }
    told = {place for word in first_words("docs/api.md") for place in spelled_out(word)}
    assert told == routes


def test_every_kind_of_content_is_named_with_its_routes() -> None:
    (sentence,) = re.findall(r"^`\{kind\}` is (.*?)\.", text("docs/api.md"), re.MULTILINE | re.DOTALL)
    assert set(re.findall(r"`(\w+)`", sentence)) == set(CONTENT_KINDS)


def cells_below(heading: str) -> list[list[str]]:
    """The rows of the tables under a heading of docs/booting.md."""
    part = text("docs/booting.md").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return [re.split(r" +\| +", line.strip("| ")) for line in part.splitlines() if line.startswith("| ")]


def words(cell: str) -> tuple[str, ...]:
    """What stands in backquotes in a cell."""
    return tuple(re.findall(r"`([^`]+)`", cell))


def test_every_loader_is_documented_with_its_files() -> None:
    told = {words(row[0])[0]: row for row in cells_below("Loaders") if words(row[0])}
    assert list(told) == [*LOADERS, NO_LOADER]
    for name, loader in LOADERS.items():
        assert told[name][1] == loader.meaning
        assert words(told[name][2]) == tuple(loader.files.values())


def test_every_firmware_is_documented_with_its_loaders_in_order() -> None:
    told = {row[0]: row for row in cells_below("What each firmware is given")}
    for platform in Platform:
        name = f"UEFI {platform.value.removeprefix('uefi-')}" if platform is not Platform.BIOS else "BIOS"
        _, numbers, pxe, http = told[name]
        assert words(pxe) == signed_second(order(platform))
        assert words(http) == order(platform, only_ipxe=True)
        known = {str(number) for number, arch in ARCHS.items() if arch.platform is platform}
        assert set(re.findall(r"\d+", numbers)) == known
    assert words(told["UEFI x64, Secure Boot on"][2]) == order(Platform.X64, secure=True)
    assert words(told["UEFI x64, Secure Boot off"][2]) == order(Platform.X64)


def test_every_quirk_is_documented() -> None:
    fields = {field.encode_name for field in msgspec.structs.fields(Match)}
    told = {words(row[0])[0] for row in cells_below("Quirks") if words(row[0]) and row[0] != "In `match`"}
    assert told == fields | set(Quirk.__struct_fields__) - {"match"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_make_has_every_verb_that_is_told_of(page: Path) -> None:
    told = set(re.findall(r"`make ([a-z0-9-]+)", page.read_text(encoding="utf-8")))
    told |= {verb for line in code_of(str(page)) for verb in re.findall(r"^make ([a-z0-9-]+)", line)}
    assert told <= verbs()


def test_the_readme_tells_of_the_three_verbs_that_everybody_needs() -> None:
    assert {"demo", "test", "run"} <= set(re.findall(r"\bmake ([a-z]+)", text("README.md")))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_commands_that_are_shown_exist(page: Path) -> None:
    for line in code_of(str(page)):
        match = re.match(r"provisioner ([a-z]+)(?: ([a-z0-9-]+))?", line)
        if match is None:
            continue
        commands = GROUPS[match[1]].load()
        assert isinstance(commands, Command) or match[2] in {command.name for command in commands}, line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_that_exist(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
    local = [target for target in targets if "://" not in target]
    assert [target for target in local if not (page.parent / target).exists()] == []


def test_pictures_are_small_enough_to_be_cloned_by_everybody() -> None:
    pictures = list(ROOT.glob("docs/pictures/*"))
    assert pictures
    assert [each.name for each in pictures if each.stat().st_size > LARGEST_PICTURE_BYTES] == []


def test_the_changelog_begins_with_this_version() -> None:
    (version,) = re.findall(r"^version = (.+)$", text("setup.cfg"), re.MULTILINE)
    assert re.findall(r"^## (\S+)", text("CHANGELOG.md"), re.MULTILINE)[0] == version


def test_every_dependency_is_explained() -> None:
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    wanted = f"{setup['options']['install_requires']}\n{setup['options.extras_require']['dev']}".split("\n")
    names = [line.split()[0] for line in wanted if line]
    assert [name for name in names if f"`{name}`" not in text("CONTRIBUTING.md")] == []
