"""The floors of the building, as data: a module imports only from below. Failures name file and line."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# Lowest first. A folder stands on one floor; the order inside it is in ORDER.
FLOORS = (
    ("compiled", "__init__", "errors", "frozen", "native", "remembered", "model", "events"),
    (
        "arch",
        "wire",
        "lifecycle",
        "claims",
        "plan",
        "endings",
        "hellos",
        "standing",
        "availability",
        "erase",
        "access",
        "identity",
        "links",
        "dhcp_case",
        "leases",
        "clients6",
        "bindings6",
        "leases6",
        "retention",
        "firmware",
        "firmware6",
        "loaders",
        "quirks",
        "script_names",
        "boot_attempts",
        "strangers",
        "netboot",
        "tickets",
        "downloads",
        "repositories",
        "bodies",
        "patches",
        "schema_words",
        "params",
        "expand",
        "masking",
        "content",
        "option_templates",
        "network_fields",
        "recording",
        "findings",
        "client_findings",
        "machine_findings",
        "diagnosis",
    ),
    (
        "config",
        "shipped",
        "packs",
        "boot_files",
        "arp_table",
        "vault",
        "store",
        "bus",
        "power",
        "sockets",
        "raw_sockets",
        "fair_loop",
    ),
    ("conductor",),
    ("services",),
    ("assembly", "server", "cli", "__main__"),
)
# Inside a folder (and among the files of one floor) a file imports only from those before it.
ORDER = {
    "model": "content machines operations addresses access",
    "wire": "error http_parts capture ipv4 address_probes search_request dhcp dhcp_shapes option_types dhcp_options"
    " dhcp6 dhcp6_options dhcp6_text router_advertisement tftp tftp_sender",
    "content": "located templating references faults stack whole",
    "store": "folders file_cache rows spans event_index event_search schema batches pace room writer database logs"
    " log_search assets tar_stream packet_records recorder",
    "power": "driver presence ipmi_session ipmi_chassis ipmi_lines ipmi registry",
    "conductor": "ledger saving finding replies record retention assets tokens users values catalog archive orders"
    " claiming jobs clashes recognition machine_changes registration machines actions operations bulk network_checks"
    " networks notes"
    " neighbours turns boot_context boot_scripts boot boot_choices proxy_answers configured_options dhcp_replies"
    " by_mac lease_book clock_steps conflicts addresses lease_book6 dhcp6_replies addresses6 doctor",
    "services": "http reach plain_port plain_site filters listing stored transfers"
    " places upstreams fetches passing_on repositories files tftp_content tftp_ports"
    " tftp_transfer tftp frames interfaces4 datagrams arrivals4 dhcp proxy_dhcp probes server_search interfaces6 dhcp6"
    " router_advertisements clock operations callers preconditions resources idempotency machine_documents effective"
    " work join api_access api_machines api_machine_verbs api_bulk api_clashes api_params api_jobs api_content"
    " api_networks api_events api_archive api_packets api_doctor api_downloads api openapi surface ui_api ui_words"
    " ui_event_data ui_boot_events ui_work_events ui_events ui_boots ui_content ui_inventory ui_work ui_machines"
    " ui_params ui_pages ui_answers ui_login ui_jobs"
    " ui_views ui_fields ui_networks ui_network_forms ui_forms ui_fleet ui_clashes ui_logs ui_doctor ui_downloads ui",
    "cli": "exits client tokens output command decoding naming access completion content events logs waiting changing"
    " fetching archive packets doctor bulk clashes join users jobs machine_params machine_work machines subnets"
    " networks objects power repositories version serve secrets parser main",
}
# What the server shares with the agent; the rest of the agent is none of its business.
SHARED = {"agent.boot_words", "agent.render", "agent.errors", "agent.build", "agent.version"}
FILES = sorted([*ROOT.glob("provisioner/**/*.py"), *ROOT.glob("agent/*.py")])


def floor(module: str) -> int:
    """The floor of `provisioner.a.b`."""
    part = module.split(".")[1]
    return next(number for number, parts in enumerate(FLOORS) if part in parts)


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def is_module(name: str) -> bool:
    return (ROOT / Path(*name.split("."))).with_suffix(".py").is_file()


@cache
def imports(path: Path) -> tuple[tuple[int, str, tuple[str, ...]], ...]:
    """Line, absolute module, names."""
    return tuple(imported(parsed(path), path.parent.name))


def imported(tree: ast.Module, package: str) -> Iterator[tuple[int, str, tuple[str, ...]]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name, ()) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                module = ".".join(filter(None, [package, module]))
            names = tuple(alias.name for alias in node.names)
            inner = [f"{module}.{name}" for name in names if is_module(f"{module}.{name}")]
            yield from ((node.lineno, name, ()) for name in inner)
            if len(inner) < len(names):
                yield node.lineno, module, names


def wrong(path: Path) -> Iterator[str]:
    """What this file imports and may not."""
    own = name_of(path)
    for line, module, names in imports(path):
        place = f"{path.relative_to(ROOT)}:{line}"
        package = module.split(".")[0]
        if package not in ("agent", "provisioner"):
            continue
        yield from (f"{place}: {module}.{name} is private" for name in names if name.startswith("_"))
        if own.startswith("agent."):
            if package == "provisioner":
                yield f"{place}: the agent imports {module}"
        elif package == "agent":
            if module not in SHARED or floor(own) < 1:
                yield f"{place}: {own} imports {module}"
        else:
            yield from upward(place, own, module)


def upward(place: str, own: str, module: str) -> Iterator[str]:
    if floor(module) > floor(own):
        yield f"{place}: {own} on floor {floor(own)} imports {module} on floor {floor(module)}"
    folder = own.split(".")[1]
    if folder in ORDER and module.split(".")[1] == folder and module != f"provisioner.{folder}":
        order = ORDER[folder].split()
        if order.index(module.split(".")[2]) >= order.index(own.split(".")[2]):
            yield f"{place}: {own} imports {module}, which is not listed before it"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_module_imports_only_what_stands_below_it(path):
    assert list(wrong(path)) == []


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_nothing_is_imported_inside_a_function(path):
    found = [
        f"{path.relative_to(ROOT)}:{inner.lineno}"
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for inner in ast.walk(node)
        if isinstance(inner, ast.Import | ast.ImportFrom)
    ]
    assert found == []


# The first that anybody imports of us lets compiled modules be found.
BEGINNING = ROOT / "provisioner" / "__init__.py"


@pytest.mark.parametrize(
    "path", [path for path in FILES if path.name == "__init__.py" and path != BEGINNING], ids=name_of
)
def test_a_package_holds_a_docstring_and_nothing_else(path):
    tree = parsed(path)
    assert ast.get_docstring(tree)
    assert [f"{path.relative_to(ROOT)}:{node.lineno}" for node in tree.body[1:]] == []


@pytest.mark.parametrize("path", [path for path in FILES if path.name != "__init__.py"], ids=name_of)
def test_every_module_has_its_place_in_the_building(path):
    parts = name_of(path).split(".")
    if parts[0] == "provisioner":
        floor(".".join(parts))
        assert len(parts) == 2 or parts[2] in ORDER[parts[1]].split(), f"list {path.relative_to(ROOT)} in ORDER"


@pytest.mark.parametrize("folder", ORDER)
def test_the_order_lists_only_files_that_exist(folder):
    assert [name for name in ORDER[folder].split() if not is_module(f"provisioner.{folder}.{name}")] == []


def test_no_floor_imports_in_a_circle():
    """Files of one floor beside each other: whatever they import of each other has an end."""
    needs = {
        name_of(path): {module for _, module, _ in imports(path) if is_module(module)}
        for path in FILES
        if path.name != "__init__.py"
    }
    while ready := {name for name, below in needs.items() if not below & needs.keys()}:
        needs = {name: below for name, below in needs.items() if name not in ready}
    assert sorted(needs) == []
