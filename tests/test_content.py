"""The content that ships: every template renders for a sample machine, and the small tasks do what they say."""

import ast
import json
import re
import stat
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from agent.errors import RenderError
from agent.render import Renderer
from provisioner.conductor.boot_scripts import GRUB, GRUB_START, IPXE
from provisioner.model.content import Stage, Task, Workflow
from provisioner.params import validate
from provisioner.plan import flatten
from tests.fakes.file_server import FileServer
from tests.shipped_scripts import (
    MACHINE,
    boot_context,
    load_module,
    run_script,
    shipped,
    task_context,
    write_task,
)

CONTENT = shipped()
SOURCES = {name: template.contents for name, template in CONTENT["templates"].items()}
TASKS = sorted(CONTENT["tasks"])
# A value for every param that has no default, with all that a template could stumble over.
NASTY = """ends'in"quotes\\ and $(reboot) `reboot` {{ braces }} \u2028 %s"""
PARAMS: dict[str, Any] = {
    "image/url": "http://192.0.2.9/x.img.zst",
    "image/sha256": "a" * 64,
    "image/disk": NASTY,
    "os/hostname": "web-1.example.org",
    "os/ssh-keys": ["ssh-ed25519 AAAAC3Nza+/= someone's key"],
    "os/network": {"addresses": ["192.0.2.10/24"], "gateway": "192.0.2.1"},
    "network/boot-mac": "52:54:00:aa:bb:cc",
    "power/address": "192.0.2.77",
}


def rendered(name: str, **more: Any) -> str:
    return Renderer().render(name, SOURCES, {**boot_context(MACHINE), **more})


# --- all templates


@pytest.mark.parametrize("params", [{}, PARAMS], ids=["defaults", "all params"])
@pytest.mark.parametrize("task", TASKS)
def test_every_script_renders_and_is_valid(task: str, params: dict[str, Any], tmp_path: Path) -> None:
    write_task(CONTENT, task, task_context(CONTENT, params), tmp_path)
    for path in tmp_path.iterdir():
        text = path.read_text()
        if path.suffix == ".py" or text.startswith("#!/usr/bin/env python3"):
            ast.parse(text, feature_version=(3, 9))
        else:
            assert text.startswith(("#!/bin/sh", "#!/bin/bash"))
            subprocess.run(["bash", "-n", str(path)], check=True)


BOOT_TEMPLATES = {GRUB_START, *(getattr(each, part) for each in (IPXE, GRUB) for part in each.__struct_fields__)}


def test_every_template_is_used_by_a_task_or_by_the_boot_service() -> None:
    used = {file.template for task in CONTENT["tasks"].values() for file in task.files}
    assert set(SOURCES) == used | {"agent/join", *BOOT_TEMPLATES}


def test_shell_scripts_are_strict() -> None:
    for name, source in SOURCES.items():
        if source.startswith(("#!/bin/bash", "#!/bin/sh")):
            assert re.search(r"^set -e(uo pipefail|u)$", source, re.MULTILINE), name


def test_a_param_value_stays_one_value_in_a_script(tmp_path: Path) -> None:
    script = write_task(CONTENT, "image-write", task_context(CONTENT, PARAMS), tmp_path)
    line = next(line for line in script.read_text().split("\n") if line.startswith("WANTED"))
    assert json.loads(ast.literal_eval(line.removeprefix("WANTED = loads(").removesuffix(")"))) == NASTY


def test_an_undefined_name_fails_with_template_and_line() -> None:
    context = boot_context(MACHINE)
    del context["kernel_url"]
    with pytest.raises(RenderError) as caught:
        Renderer().render("boot/ipxe", SOURCES, context)
    assert caught.value.template == "boot/ipxe" and "'kernel_url' is undefined" in str(caught.value)


# --- booting


def test_the_boot_script_names_machine_and_environment_and_passes_the_params_on() -> None:
    lines = rendered("boot/ipxe").splitlines()
    assert lines[0] == "#!ipxe"
    assert "echo provisioner: rack_1 boots discovery from http://192.0.2.1:8091" in lines
    assert (
        "kernel --name vmlinuz http://192.0.2.1:8091/files/discovery/vmlinuz initrd=initrd.img console=ttyS0"
        " || goto failed"
    ) in lines
    assert "initrd --name initrd.img http://192.0.2.1:8091/files/discovery/initrd.img || goto failed" in lines


def test_initrds_are_named_for_the_kernel_when_the_params_do_not() -> None:
    urls = ["http://192.0.2.1:8091/files/a/one.img", "http://192.0.2.1:8091/files/b/two.img"]
    text = rendered("boot/ipxe", boot_params="quiet", initrd_urls=urls)
    assert "/vmlinuz initrd=one.img initrd=two.img quiet || goto failed" in text


@pytest.mark.parametrize("template", ["boot/ipxe", "boot/local"])
def test_an_unknown_machine_is_called_by_its_mac(template: str) -> None:
    assert "unknown machine 52:54:00:aa:bb:cc" in rendered(template, machine=None)


def test_a_held_newcomer_is_told_why_and_tries_again_in_a_minute() -> None:
    text = rendered("boot/held", machines=["node-1", "node-2"], reason="MAC x belongs to machine node-1")
    assert text.startswith("#!ipxe\n") and "clashes with node-1, node-2\n" in text
    assert "MAC x belongs to machine node-1" in text and "sleep 60\nchain --replace" in text
    assert "kernel" not in text and "sanboot" not in text


def test_a_held_newcomer_is_told_why_whatever_there_is_to_tell() -> None:
    text = rendered("boot/held", machines=["${x}"], reason="the serial number\n${net0/mac} || shell is that of node-1")
    assert "clashes with $ {x}\n" in text
    assert "echo the serial number $ {net0/mac} ${nothing}|| shell is that of node-1\n" in text


WAIT = {"place": 7, "waiting": 12, "limit": 100, "pause_seconds": 3}


def test_a_machine_that_waits_for_its_turn_is_told_its_place_and_asks_again() -> None:
    text = rendered("boot/wait", **WAIT)
    assert "waits to boot discovery: place 7 of 12, 100 machines download at once\nsleep 3\nchain --replace" in text
    assert "/boot/52-54-00-aa-bb-cc.ipxe ||\nreboot\n" in text and "kernel" not in text


def test_grub_asks_again_without_nesting_where_its_first_file_is_ours() -> None:
    text = rendered("boot/grub-wait", **WAIT)
    assert "place 7 of 12, 100 machines download at once" in text and "sleep 3\n" in text
    assert "set again=yes" in text and 'while [ "$again" = yes ]' in rendered(GRUB_START)


@pytest.mark.parametrize("template", ["boot/grub-wait", GRUB_START])
def test_scripts_for_grub_are_in_its_language(template: str, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text(rendered(template, **WAIT))
    subprocess.run(["bash", "-n", str(script)], check=True)


@pytest.mark.parametrize("template", ["boot/ipxe", "boot/local"])
def test_a_boot_script_has_no_line_left_over_and_every_label_it_jumps_to(template: str) -> None:
    text = rendered(template)
    assert set(re.findall(r"goto (\w+)", text)) <= set(re.findall(r"^:(\w+)$", text, re.MULTILINE))
    assert not re.search(r"[ \t]$|{[{%#]", text, re.MULTILINE)


def test_a_boot_that_fails_is_tried_once_more_and_never_falls_through_to_the_disk() -> None:
    text = rendered("boot/ipxe")
    assert text.count("goto fetch") == 1 and text.rstrip().endswith("reboot") and "exit" not in text


# --- stages and workflows


def flat(name: str) -> tuple[str, ...]:
    return flatten(CONTENT.of(Workflow)[name], CONTENT.of(Stage))


def test_workflow_discover_takes_stock() -> None:
    assert flat("discover") == ("stage:discover", "bootenv:discovery", "inventory", "network", "bmc-detect")


def test_workflow_deploy_checks_before_it_writes_and_ends_in_the_installed_system() -> None:
    assert flat("deploy") == (
        "stage:deploy-prepare",
        "bootenv:discovery",
        "check-erase-grant",
        "stage:deploy-image",
        "image-write",
        "image-settings",
        "stage:deploy-boot",
        "bootenv:local",
        "stage:complete",
        "os-report",
    )


def test_the_change_stage_map_goes_the_way_of_the_workflow() -> None:
    steps = CONTENT["profiles"]["deploy-by-map"].params["change-stage/map"]
    way = ["deploy-prepare"]
    while way[-1] in steps:
        way.append(steps[way[-1]].partition(":")[0])
    assert tuple(way) == CONTENT["workflows"]["deploy"].stages


def test_only_writing_the_image_is_destructive() -> None:
    assert [task.name for task in CONTENT.of(Task).values() if task.destructive] == ["image-write"]


def test_everything_says_what_it_is() -> None:
    for kind in ("params", "profiles", "tasks", "stages", "workflows", "bootenvs"):
        for value in CONTENT[kind].values():
            assert value.description, value.name


# --- params


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("change-stage/map", {"a": "b", "c": "d/e:Stop"}),
        ("power/address", "bmc.example.org"),
        ("os/hostname", "a.b-c.example"),
        ("os/ssh-keys", ["ssh-ed25519 AAAA me@host", "ecdsa-sha2-nistp256 AAAA", "restrict ssh-rsa AAAAB3== x y"]),
        ("os/network", {"interface": "en*", "dhcp": True, "dns": ["2001:db8::1"], "mtu": 9000}),
        ("image/sha256", "AB" * 32),
        ("hello/pause", 0),
    ],
)
def test_good_values_fit(name: str, value: Any) -> None:
    assert validate(name, value, CONTENT["params"][name]) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("change-stage/map", {"a": "b:Explode"}),
        ("change-stage/map", []),
        ("power/driver", "Steam engine"),
        ("power/port", 0),
        ("os/hostname", "-a"),
        ("os/hostname", "a_b"),
        ("os/hostname", "a\nb"),
        ("os/ssh-keys", "ssh-ed25519 AAAA"),
        ("os/ssh-keys", ["hello"]),
        ("os/ssh-keys", ["ssh-ed25519 AAAA\nssh-rsa BBBB"]),
        ("os/network", {"adresses": []}),
        ("os/network", {"addresses": ["192.0.2.1"]}),
        ("os/network", {"gateway": "192.0.2.1\nDNS=1"}),
        ("image/name", "../../etc/passwd"),
        ("image/url", "file:///etc/passwd"),
        ("image/sha256", "abc"),
        ("hello/lines", 0),
    ],
)
def test_bad_values_do_not(name: str, value: Any) -> None:
    assert validate(name, value, CONTENT["params"][name])


def test_the_bmc_password_is_secret() -> None:
    assert [name for name, param in CONTENT["params"].items() if param.secure] == ["power/password"]


# --- the small tasks, run


def helper(folder: Path) -> Path:
    """A `provisioner-param` that writes down what it is told, and the shell functions."""
    folder.mkdir()
    command = folder / "provisioner-param"
    command.write_text(f'#!/bin/sh\nprintf "%s\\n" "$*" >> {folder}/told\n')
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    (folder / "provisioner.sh").write_text('progress() { echo "progress $1"; }\n')
    return folder


def told(folder: Path) -> list[str]:
    return (folder / "told").read_text().splitlines()


def test_hello_prints_its_lines(tmp_path: Path) -> None:
    context = task_context(CONTENT, {"hello/lines": 3, "hello/pause": 0})
    done = run_script(write_task(CONTENT, "hello", context, tmp_path), "", helper(tmp_path / "bin"))
    lines = done.stdout.splitlines()
    assert (done.returncode, lines[0]) == (0, "Hello from rack_1 in discovery")
    assert sum(line.startswith("line ") for line in lines) == 3 and lines[-1] == "progress 100"


def test_inventory_is_the_agents(tmp_path: Path) -> None:
    script = write_task(CONTENT, "inventory", task_context(CONTENT, {}), tmp_path)
    assert 'python3 -I "$PROVISIONER_AGENT" inventory --upload' in script.read_text()


def test_params_are_set_all_in_one_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_task(CONTENT, "network", task_context(CONTENT, {}), tmp_path)
    monkeypatch.setenv("PATH", f"{helper(tmp_path / 'bin')}:/usr/bin:/bin")
    server = load_module(tmp_path / "server.py")
    server.set_params({"a/b": "x", "c": [1]})
    assert told(tmp_path / "bin") == ['set a/b "x" c [1]']


def test_where_the_agent_has_a_module_for_it_no_command_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_task(CONTENT, "network", task_context(CONTENT, {}), tmp_path)
    (tmp_path / "provisioner_task.py").write_text(
        "class TaskError(Exception): ...\ngiven = []\ndef set_params(values):\n"
        "    if 'bad' in values: raise TaskError('no such param')\n    given.append(values)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    server = load_module(tmp_path / "server.py")
    try:
        server.set_params({"a/b": "x", "c": [1]})
        assert server.provisioner_task.given == [{"a/b": "x", "c": [1]}]
        with pytest.raises(server.ServerError, match="no such param"):
            server.set_param("bad", 1)
    finally:
        del sys.modules["provisioner_task"]


@pytest.fixture
def report(tmp_path: Path) -> ModuleType:
    return script_module("os-report", {"os/hostname": "web-1.example.org"}, tmp_path)


def script_module(task: str, params: dict[str, Any], folder: Path) -> ModuleType:
    script = write_task(CONTENT, task, task_context(CONTENT, params), folder)
    load_module(folder / "server.py")
    path = script.rename(folder / f"{task.replace('-', '_')}_script.py")
    return load_module(path)


@pytest.mark.parametrize("name", ["web-1", "web-1.example.org", "WEB-1"])
def test_os_report_takes_the_short_and_the_full_name(report: ModuleType, name: str) -> None:
    assert report.faults({"hostname": name}, "") == []


def test_os_report_refuses_another_name(report: ModuleType) -> None:
    assert report.faults({"hostname": "debian"}, "") == ["its host name is 'debian', it should be 'web-1.example.org'"]


def test_os_report_refuses_a_netbooted_system(report: ModuleType) -> None:
    bootenv = report.netbooted("console=ttyS0 provisioner.bootenv=discovery provisioner.url=http://x")
    assert report.faults({"hostname": "web-1"}, bootenv) == [
        "this is the boot environment 'discovery', not the installed system"
    ]


def test_os_report_reads_os_release(report: ModuleType) -> None:
    text = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n# note\nVERSION_ID="12"\nID=debian\n'
    assert report.os_release(text) == {
        "PRETTY_NAME": "Debian GNU/Linux 12 (bookworm)",
        "VERSION_ID": "12",
        "ID": "debian",
    }


def test_os_report_tells_the_server_and_fails_on_the_wrong_host(tmp_path: Path) -> None:
    helpers = helper(tmp_path / "bin")
    script = write_task(CONTENT, "os-report", task_context(CONTENT, {"os/hostname": "no-such-host"}), tmp_path)
    done = run_script(script, "", helpers)
    assert done.returncode == 1 and "it should be 'no-such-host'" in done.stderr
    (line,) = told(helpers)
    words = line.split(" ", 2)
    assert words[:2] == ["set", "os/report"] and json.loads(words[2])["uptime_seconds"] > 0


def test_without_a_host_name_the_machines_name_is_taken_as_a_host_name(tmp_path: Path) -> None:
    assert script_module("os-report", {}, tmp_path).HOSTNAME == "rack-1"


LINKS = [
    {"ifname": "lo", "link_type": "loopback", "address": "00:00:00:00:00:00", "addr_info": []},
    {"ifname": "eno1", "link_type": "ether", "address": "52:54:00:00:00:01", "addr_info": []},
    {
        "ifname": "eno2",
        "link_type": "ether",
        "address": "52:54:00:00:00:02",
        "addr_info": [
            {"scope": "link", "local": "fe80::1", "prefixlen": 64},
            {"scope": "global", "local": "192.0.2.5", "prefixlen": 24},
        ],
    },
]


@pytest.fixture
def network(tmp_path: Path) -> ModuleType:
    return script_module("network", {}, tmp_path)


@pytest.mark.parametrize(
    ("line", "mac"),
    [
        ("quiet BOOTIF=01-52-54-00-AA-bb-cc x", "52:54:00:aa:bb:cc"),
        ("BOOTIF=52:54:00:aa:bb:cc", "52:54:00:aa:bb:cc"),
        ("XBOOTIF=01-52-54-00-aa-bb-cc", ""),
        ("quiet", ""),
    ],
)
def test_the_boot_mac_is_read_from_the_kernels_command_line(network: ModuleType, line: str, mac: str) -> None:
    assert network.boot_mac(line) == mac


def test_the_boot_interface_is_that_of_the_boot_mac(network: ModuleType) -> None:
    assert network.find_link(LINKS, "52:54:00:00:00:01")["ifname"] == "eno1"
    assert network.find_link(LINKS, "52:54:00:00:00:09") is None


def test_without_a_boot_mac_it_is_the_first_with_an_address(network: ModuleType) -> None:
    link = network.find_link(LINKS, "")
    assert (link["ifname"], network.global_address(link)) == ("eno2", "192.0.2.5/24")


LAN = """\
Set in Progress         : Set Complete
Auth Type Support       : MD5
Auth Type Enable        : Callback : MD5
                        : User     : MD5
IP Address Source       : Static Address
IP Address              : {}
MAC Address             : 52:54:00:de:ad:01
"""


@pytest.fixture
def bmc(tmp_path: Path) -> ModuleType:
    return script_module("bmc-detect", {}, tmp_path)


def test_the_first_channel_with_an_address_is_the_bmcs(bmc: ModuleType) -> None:
    answers = {"1": LAN.format("0.0.0.0"), "3": LAN.format("192.0.2.77")}
    assert bmc.bmc_address(lambda *words: answers.get(words[-1], "")) == "192.0.2.77"


@pytest.mark.parametrize("address", ["", "0.0.0.0", "127.0.0.1", "169.254.0.17"])
def test_an_address_that_nobody_can_reach_is_none(bmc: ModuleType, address: str) -> None:
    assert bmc.bmc_address(lambda *words: LAN.format(address)) == ""


def test_a_command_that_is_missing_or_fails_answers_nothing(bmc: ModuleType) -> None:
    assert bmc.run("/no/such/command") == bmc.run("false") == ""


def test_a_server_error_is_retried_and_an_answer_is_not(tmp_path: Path) -> None:
    write_task(CONTENT, "check-erase-grant", task_context(CONTENT, {}), tmp_path)
    server_module = load_module(tmp_path / "server.py")
    pauses: list[float] = []
    with FileServer(files={"/x": b"text"}, statuses=[503, 500]).running() as fake:
        client = server_module.Server(fake.url, sleep=pauses.append)
        assert client.text(f"{fake.url}/x") == "text" and len(pauses) == 2
        with pytest.raises(server_module.ServerError, match="404"):
            client.text(f"{fake.url}/gone")
    assert len(pauses) == 2
