"""Settings: where they come from, what wins, and what a wrong one says."""

from __future__ import annotations

from pathlib import Path

import pytest

from provisioner.config import NOT_ON_THE_COMMAND_LINE, SETTINGS, Listener, read_config
from provisioner.errors import SettingError


def test_the_defaults_are_valid() -> None:
    config = read_config({}, {})
    assert config["listen.ui"] == Listener("127.0.0.1", 8092)
    assert config.files_dir == Path("/var/lib/provisioner/files")


def test_a_flag_wins_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("listen:\n  http: 10.0.0.1:1\n  ui: 10.0.0.1:2\n  tftp: 10.0.0.1:3\n")
    environment = {"PROVISIONER_LISTEN_HTTP": "10.0.0.2:1", "PROVISIONER_LISTEN_UI": "10.0.0.2:2"}
    config = read_config({"listen.http": "10.0.0.3:1"}, environment, file)
    assert [config[f"listen.{name}"].host for name in ("http", "ui", "tftp")] == ["10.0.0.3", "10.0.0.2", "10.0.0.1"]


def test_listeners_for_ipv6_follow_those_for_ipv4_or_have_a_place_of_their_own() -> None:
    assert read_config({}, {})["listen.dhcp6"].auto
    assert read_config({"listen.http6": "[fd00::1]:80"}, {})["listen.http6"] == Listener("fd00::1", 80)
    assert read_config({"listen.tftp6": "off"}, {})["listen.tftp6"].off
    for wrong in ("0.0.0.0:80", "on", "[::]"):
        with pytest.raises(SettingError, match="listen.http6"):
            read_config({"listen.http6": wrong}, {})


def test_a_subnet_of_ipv6_is_read_whole() -> None:
    (subnet,) = read_config({"dhcp.subnets": "fd00:1::/64,fd00:1::10-fd00:1::ff,dns=fd00::53"}, {})["dhcp.subnets"]
    assert (subnet.name, subnet.cidr, subnet.pool_end) == ("fd00-1--64", "fd00:1::/64", "fd00:1::ff")
    assert subnet.dns_servers == ("fd00::53",)


def test_a_bare_off_in_the_file_means_off(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("listen: {dhcp: off}\n")
    assert read_config({}, {}, file)["listen.dhcp"].off


def test_lists_in_the_file_are_lists(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("dhcp:\n  interfaces: [eth1, eth2]\n")
    assert read_config({}, {}, file)["dhcp.interfaces"] == ("eth1", "eth2")


def test_a_subnet_is_read_whole() -> None:
    config = read_config({"dhcp.subnets": "10.1.0.0/24,10.1.0.10-10.1.0.20,gateway=10.1.0.1,dns=10.1.0.2+10.1.0.3"}, {})
    subnet = config["dhcp.subnets"][0]
    assert (subnet.name, subnet.pool_start, subnet.pool_end) == ("10.1.0.0-24", "10.1.0.10", "10.1.0.20")
    assert (subnet.gateway, subnet.dns_servers) == ("10.1.0.1", ("10.1.0.2", "10.1.0.3"))


@pytest.mark.parametrize(
    ("text", "value"), [("on", True), ("true", True), ("yes", True), ("off", False), ("no", False)]
)
def test_a_switch_is_written_as_people_write_it(text: str, value: bool) -> None:
    assert read_config({"tftp.single_port": text}, {})["tftp.single_port"] is value


@pytest.mark.parametrize(
    ("text", "value"), [("on", True), ("true", True), ("'on'", True), ("off", False), ("false", False)]
)
def test_a_switch_in_a_file_is_what_yaml_makes_of_it(tmp_path: Path, text: str, value: bool) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(f"tftp:\n  single_port: {text}\n  ports: 30000-30999\n")
    config = read_config({}, {}, file)
    assert (config["tftp.single_port"], config["tftp.ports"]) == (value, (30000, 30999))


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("listen.http", "everywhere", "is not ADDRESS:PORT"),
        ("listen.http", "0.0.0.0:70000", "port from 0 to 65535"),
        ("listen.ui", "localhost:80", "'localhost' is not an IP address"),
        ("log.level", "loud", "is not one of debug, info, warning, error"),
        ("content", "/nowhere/pack", "/nowhere/pack does not exist"),
        ("data_dir", "", "names a folder"),
        ("dhcp.subnets", "10.0.0.0/24,a-b", "is not CIDR,FIRST-LAST"),
        ("tftp.single_port", "maybe", "is not on or off"),
        ("tftp.ports", "30000", "is not FIRST-LAST, as in 30000-30999"),
        ("tftp.ports", "30010-30000", "the lower one first"),
        ("tftp.ports", "1-70000", "from 1 to 65535"),
        ("admin.password_file", "/nowhere/password", "cannot read /nowhere/password"),
    ],
)
def test_a_wrong_value_names_setting_source_value_and_choices(name: str, value: str, says: str) -> None:
    with pytest.raises(SettingError) as refused:
        read_config({name: value}, {})
    assert refused.value.object == name
    assert says in refused.value.message
    assert "--" + name.replace(".", "-").replace("_", "-") in refused.value.message


def test_an_unknown_setting_in_the_file_names_those_there_are(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("listen: {htp: 1.2.3.4:5}\n")
    with pytest.raises(SettingError, match=r"unknown setting 'listen\.htp'.*listen\.http"):
        read_config({}, {}, file)


def test_an_unknown_variable_of_ours_is_refused() -> None:
    with pytest.raises(SettingError, match="unknown variable PROVISIONER_LISTEN_HTP"):
        read_config({}, {"PROVISIONER_LISTEN_HTP": "1"})


def test_a_file_that_is_no_yaml_says_where(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("listen: [\n")
    with pytest.raises(SettingError, match=r"(?s)is not YAML.*line 2"):
        read_config({}, {}, file)


def test_the_password_is_never_taken_from_the_command_line() -> None:
    assert frozenset({"admin.password"}) == NOT_ON_THE_COMMAND_LINE
    assert {setting.name for setting in SETTINGS} >= NOT_ON_THE_COMMAND_LINE
