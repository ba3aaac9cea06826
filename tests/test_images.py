"""The image scripts and what goes into the images: what can be said without building one."""

import importlib.util
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from shutil import copy, which
from threading import Thread
from types import ModuleType

import pytest
from jinja2 import Environment, StrictUndefined
from msgspec import convert
from yaml import safe_load

from provisioner.model.content import Bootenv

ROOT = Path(__file__).parent.parent
IMAGES = ROOT / "images"
SCRIPTS = sorted(IMAGES.glob("*.sh"))
BUILDERS = [script for script in SCRIPTS if script.name not in ("lib.sh", "foreign.sh")]
BOOTENVS = ROOT / "bootenvs"


def load(path: Path) -> ModuleType:
    """A Python file of images/ as a module; it belongs to no package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def list_lines(path: Path) -> list[str]:
    """The lines of a list file, without comments."""
    return [words for line in path.read_text().splitlines() if (words := line.split("#")[0].strip())]


def unit_values(path: Path, key: str) -> list[str]:
    """All values of one key in a unit file."""
    return [line.partition("=")[2] for line in path.read_text().splitlines() if line.startswith(f"{key}=")]


@pytest.fixture(scope="module")
def start_agent() -> ModuleType:
    return load(IMAGES / "discovery/root/usr/lib/provisioner/start_agent.py")


@pytest.fixture(scope="module")
def keep_modules() -> ModuleType:
    return load(IMAGES / "hardware/keep_modules.py")


@pytest.fixture(scope="module")
def bios_boot() -> ModuleType:
    return load(IMAGES / "debian-12/bios_boot.py")


# --- the scripts ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_every_script_is_valid_bash(script: Path) -> None:
    subprocess.run(["bash", "-n", script], check=True)


@pytest.mark.skipif(which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_has_nothing_to_say() -> None:
    done = subprocess.run(["shellcheck", "-x", *SCRIPTS], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout == ""


@pytest.mark.parametrize("script", BUILDERS, ids=lambda path: path.name)
def test_every_build_script_is_executable_and_stops_at_the_first_error(script: Path) -> None:
    assert script.stat().st_mode & 0o111
    assert "\nset -euo pipefail\n" in script.read_text()


def test_no_file_names_a_package_mirror() -> None:
    for path in IMAGES.rglob("*"):
        if path.is_file() and path.suffix != ".pyc":
            text = path.read_text()
            assert "deb.debian.org" not in text and "http://deb" not in text, path


def make_builder(folder: Path, body: str) -> Path:
    """A build script of its own in a copy of images/, with one input file `parts/a` and one output `out/file`."""
    images = folder / "images"
    (images / "parts").mkdir(parents=True)
    (images / "parts/a").write_text("one\n")
    copy(IMAGES / "lib.sh", images)
    script = images / "sample.sh"
    script.write_text(
        f'set -euo pipefail\n. "$(dirname "$0")/lib.sh"\nbegin "$1" parts out/file\nwork_folder\n{body}\n'
    )
    return script


BUILD = 'cp "$IMAGES_DIR/parts/a" "$WORK_DIR/file"; publish "$WORK_DIR/file" out/file; finish'


def run_builder(script: Path, work: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run it into WORK/files, with WORK/tmp for its work folder."""
    (work / "tmp").mkdir(exist_ok=True)
    return subprocess.run(
        ["bash", script, work / "files"],
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "TMPDIR": str(work / "tmp"), **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_second_run_with_the_same_inputs_builds_nothing(tmp_path: Path) -> None:
    script = make_builder(tmp_path, BUILD)
    assert "done in" in run_builder(script, tmp_path).stdout
    assert "up to date" in run_builder(script, tmp_path).stdout


def test_what_was_packed_small_will_do_for_who_wants_it_light(tmp_path: Path) -> None:
    script = make_builder(tmp_path, BUILD)
    run_builder(script, tmp_path)
    assert "up to date" in run_builder(script, tmp_path, PACK="light").stdout
    assert "up to date" in run_builder(script, tmp_path).stdout


def test_what_was_packed_lightly_is_packed_again_for_who_wants_it_small(tmp_path: Path) -> None:
    script = make_builder(tmp_path, 'echo "level $(level 19)"\n' + BUILD)
    assert "level 5" in run_builder(script, tmp_path, PACK="light").stdout
    assert "up to date" in run_builder(script, tmp_path, PACK="light").stdout
    assert "level 19" in run_builder(script, tmp_path).stdout


def test_a_changed_input_is_built_again(tmp_path: Path) -> None:
    script = make_builder(tmp_path, BUILD)
    run_builder(script, tmp_path)
    (tmp_path / "images/parts/a").write_text("two\n")
    assert "done in" in run_builder(script, tmp_path).stdout
    assert (tmp_path / "files/out/file").read_text() == "two\n"


def test_a_lost_output_is_built_again(tmp_path: Path) -> None:
    script = make_builder(tmp_path, BUILD)
    run_builder(script, tmp_path)
    (tmp_path / "files/out/file").unlink()
    assert "done in" in run_builder(script, tmp_path).stdout


def test_a_build_that_fails_leaves_no_output_no_stamp_and_no_work_folder(tmp_path: Path) -> None:
    script = make_builder(tmp_path, 'echo half >"$WORK_DIR/file"\nfalse\n' + BUILD)
    assert run_builder(script, tmp_path).returncode == 1
    assert not (tmp_path / "files/out").exists()
    assert not (tmp_path / "files/.stamps/sample").exists()
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_build_that_fails_keeps_the_output_of_before(tmp_path: Path) -> None:
    script = make_builder(tmp_path, BUILD)
    run_builder(script, tmp_path)
    script.write_text(script.read_text().replace(BUILD, "false"))
    assert run_builder(script, tmp_path).returncode == 1
    assert (tmp_path / "files/out/file").read_text() == "one\n"


# --- lists ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["hardware/modules", "hardware/firmware", "discovery/packages", "debian-12/packages"])
def test_no_list_says_a_thing_twice(name: str) -> None:
    lines = list_lines(IMAGES / name)
    assert len(lines) == len(set(lines))


def test_our_units_that_the_discovery_image_starts_are_in_it() -> None:
    for line in list_lines(IMAGES / "discovery/units"):
        unit = line.split()[1]
        name = unit.split("@")[0] + "@.service" if "@" in unit else unit
        if unit.startswith("provisioner-"):
            assert (IMAGES / "discovery/root/etc/systemd/system" / name).is_file(), unit


def test_our_units_that_the_disk_image_enables_are_in_it() -> None:
    for line in list_lines(IMAGES / "debian-12/units"):
        sign, unit = line.split()
        assert sign in ("+", "-")
        if unit.startswith(("provisioner-", "ssh-host-keys")):
            assert (IMAGES / "debian-12/root/etc/systemd/system" / unit).is_file(), unit


# --- units ----------------------------------------------------------------------------------------------------


def test_the_discovery_unit_runs_the_starter_that_is_in_the_image() -> None:
    unit = IMAGES / "discovery/root/etc/systemd/system/provisioner-agent.service"
    (command,) = unit_values(unit, "ExecStart")
    python, starter = command.split()
    assert python == "/usr/bin/python3"
    assert (IMAGES / "discovery/root" / starter.lstrip("/")).is_file()
    assert unit_values(unit, "Restart") == ["on-failure"] and unit_values(unit, "RestartSec") == ["5"]
    assert unit_values(unit, "KillMode") == ["mixed"]


def test_the_discovery_agent_keeps_its_run_folder_over_a_restart() -> None:
    unit = IMAGES / "discovery/root/etc/systemd/system/provisioner-agent.service"
    assert unit_values(unit, "RuntimeDirectory") == ["provisioner"]
    assert unit_values(unit, "RuntimeDirectoryPreserve") == ["yes"]


def test_the_disk_image_starts_the_agent_that_a_deployment_writes() -> None:
    unit = IMAGES / "debian-12/root/etc/systemd/system/provisioner-agent.service"
    agent, settings = "/opt/provisioner/agent.pyz", "/etc/provisioner/agent.json"
    assert unit_values(unit, "ExecStart") == [f"/usr/bin/python3 -I {agent} run --config {settings}"]
    assert unit_values(unit, "ConditionPathExists") == [agent, settings]
    assert unit_values(unit, "Restart") == ["on-failure"]


def test_a_shell_opens_only_when_the_kernel_command_line_asks() -> None:
    unit = IMAGES / "discovery/root/etc/systemd/system/provisioner-shell@.service"
    assert unit_values(unit, "ConditionKernelCommandLine") == ["provisioner.debug=1"]


@pytest.mark.parametrize("image", ["discovery", "debian-12"])
def test_both_images_ask_for_addresses_by_mac(image: str) -> None:
    network = IMAGES / image / "root/etc/systemd/network/80-dhcp.network"
    assert unit_values(network, "ClientIdentifier") == ["mac"]


def test_root_logs_into_the_disk_image_by_key_only() -> None:
    lines = (IMAGES / "debian-12/root/etc/ssh/sshd_config.d/provisioner.conf").read_text().splitlines()
    assert "PermitRootLogin prohibit-password" in lines
    assert "PasswordAuthentication no" in lines


# --- boot environments ----------------------------------------------------------------------------------------


def bootenv(name: str) -> Bootenv:
    return convert(safe_load((BOOTENVS / f"{name}.yaml").read_text()), Bootenv)


def test_local_boots_the_machines_own_disk() -> None:
    assert bootenv("local").name == "local"
    assert not bootenv("local").netboots


def test_discovery_boots_the_files_that_its_script_makes() -> None:
    arch = bootenv("discovery").arch["amd64"]
    script = (IMAGES / "discovery.sh").read_text()
    for path in (arch.kernel, *arch.initrds):
        assert f" {path}\n" in script


def test_the_discovery_command_line_has_every_word_that_the_agent_reads() -> None:
    template = bootenv("discovery").arch["amd64"].boot_params
    context = {
        "server": {"url": "http://10.0.0.1:8091"},
        "bootenv": {"name": "discovery"},
        "ticket": "t1",
        "mac_dashed": "52-54-00-aa-bb-cc",
    }
    words = Environment(undefined=StrictUndefined).from_string(template).render(context).split()
    assert {
        "provisioner.url=http://10.0.0.1:8091",
        "provisioner.bootenv=discovery",
        "provisioner.ticket=t1",
        "BOOTIF=01-52-54-00-aa-bb-cc",
        "console=ttyS0,115200n8",
    } <= set(words)


# --- the starter of the agent ---------------------------------------------------------------------------------


def test_the_starter_reads_the_server_from_the_kernel_command_line(start_agent: ModuleType) -> None:
    assert start_agent.server_url("a=1 provisioner.url=http://10.0.0.1:8091/ b") == "http://10.0.0.1:8091"


def test_the_starter_finds_no_server_on_a_command_line_without_one(start_agent: ModuleType) -> None:
    assert start_agent.server_url("console=ttyS0 provisioner.urls=x") == ""


def test_the_starter_knows_its_address_towards_the_server(start_agent: ModuleType) -> None:
    assert start_agent.route_to("http://127.0.0.1:8091") == "127.0.0.1"
    assert start_agent.route_to("http://[::1]:8091") == "::1"


def test_the_starter_describes_each_real_link(start_agent: ModuleType, tmp_path: Path) -> None:
    for name, carrier in (("eth0", "1\n"), ("eth1", "0\n")):
        (tmp_path / name / "device").mkdir(parents=True)
        (tmp_path / name / "carrier").write_text(carrier)
        (tmp_path / name / "address").write_text("52:54:00:00:00:01\n")
    (tmp_path / "lo").mkdir()
    assert start_agent.describe_links(tmp_path) == (
        "eth0 (52:54:00:00:00:01) has carrier, eth1 (52:54:00:00:00:01) has no carrier"
    )


def test_the_starter_says_when_there_is_no_link_at_all(start_agent: ModuleType, tmp_path: Path) -> None:
    assert "is its driver in the image?" in start_agent.describe_links(tmp_path)


def test_the_starter_takes_name_servers_from_the_lease(start_agent: ModuleType) -> None:
    state = "OPER_STATE=routable\nDNS=10.0.0.2 10.0.0.3\nDOMAINS=rack.example\n"
    assert start_agent.resolver_lines(state) == ["nameserver 10.0.0.2", "nameserver 10.0.0.3", "search rack.example"]


@contextmanager
def server_of(body: bytes, claimed: int, code: int = 200) -> Iterator[str]:
    """The URL of a server that answers once with this body and this Content-Length."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(code)
            self.send_header("Content-Length", str(claimed))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Tests say what they have to say by failing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.handle_request)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/agent.pyz"
        finally:
            thread.join()


WHOLE = b"PK\x03\x04 files " + b"PK\x05\x06" + bytes(18)


def test_the_starter_fetches_a_whole_agent(start_agent: ModuleType) -> None:
    with server_of(WHOLE, len(WHOLE)) as url:
        assert start_agent.fetch(url) == WHOLE


def test_the_starter_refuses_an_answer_that_ends_early(start_agent: ModuleType) -> None:
    with server_of(WHOLE, len(WHOLE) + 10) as url, pytest.raises((OSError, start_agent.HTTPException)):
        start_agent.fetch(url)


def test_the_starter_refuses_what_is_no_agent(start_agent: ModuleType) -> None:
    with server_of(b"<html>", 6) as url, pytest.raises(OSError, match="not a whole agent"):
        start_agent.fetch(url)


def test_the_starter_refuses_an_error_page(start_agent: ModuleType) -> None:
    with server_of(b"", 0, code=503) as url, pytest.raises(OSError, match="503") as refused:
        start_agent.fetch(url)
    refused.value.close()  # type: ignore[attr-defined]


# --- the tools of the build -----------------------------------------------------------------------------------


def test_the_last_pattern_that_matches_decides(keep_modules: ModuleType) -> None:
    patterns = ["drivers/scsi/*", "!drivers/scsi/fcoe/*", "drivers/scsi/fcoe/libfcoe.ko"]
    assert keep_modules.is_kept("drivers/scsi/sd_mod.ko", patterns)
    assert not keep_modules.is_kept("drivers/scsi/fcoe/fcoe.ko", patterns)
    assert keep_modules.is_kept("drivers/scsi/fcoe/libfcoe.ko", patterns)
    assert not keep_modules.is_kept("sound/snd.ko", patterns)


def make_modules(folder: Path) -> None:
    """A kernel folder of three modules, one of which needs another."""
    (folder / "kernel").mkdir()
    for name in ("ext4", "jbd2", "snd"):
        (folder / f"kernel/{name}.ko").touch()
    (folder / "modules.dep").write_text("kernel/ext4.ko: kernel/jbd2.ko\nkernel/jbd2.ko:\nkernel/snd.ko:\n")


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "kernel").iterdir())


def test_what_a_kept_module_needs_is_kept(keep_modules: ModuleType, tmp_path: Path) -> None:
    make_modules(tmp_path)
    (tmp_path / "patterns").write_text("# file systems\next4.ko\n")
    assert keep_modules.main(tmp_path, tmp_path / "patterns") == 0
    assert left(tmp_path) == ["ext4.ko", "jbd2.ko"]


def test_a_pattern_that_matches_no_module_is_named_and_nothing_is_removed(
    keep_modules: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_modules(tmp_path)
    (tmp_path / "patterns").write_text("ext4.ko\nxfs/*\n")
    assert keep_modules.main(tmp_path, tmp_path / "patterns") == 1
    assert "xfs/*" in capsys.readouterr().err
    assert left(tmp_path) == ["ext4.ko", "jbd2.ko", "snd.ko"]


def test_the_boot_sector_loads_the_core_and_leaves_the_partition_table(bios_boot: ModuleType, tmp_path: Path) -> None:
    image, boot, core = tmp_path / "image", tmp_path / "boot.img", tmp_path / "core.img"
    image.write_bytes(b"\xee" * 8192)
    boot.write_bytes(bytes(512))
    core.write_bytes(b"\x11" * 1024)
    assert bios_boot.main(image, boot, core, 8, 4) == 0
    disk = image.read_bytes()
    assert struct.unpack_from("<Q", disk, 0x5C) == (8,)
    assert disk[440:512] == b"\xee" * 72
    assert struct.unpack_from("<Q", disk, 8 * 512 + 500) == (9,)
    assert len(disk) == 8192


def test_a_core_that_does_not_fit_is_refused(bios_boot: ModuleType, tmp_path: Path) -> None:
    image, boot, core = tmp_path / "image", tmp_path / "boot.img", tmp_path / "core.img"
    for path, size in ((image, 8192), (boot, 512), (core, 1024)):
        path.write_bytes(bytes(size))
    assert bios_boot.main(image, boot, core, 8, 1) == 1
    assert image.read_bytes() == bytes(8192)
