"""Options as templates: filled in once or for each client, and refused with the reason before they are saved."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from provisioner.model.addresses import Subnet
from provisioner.model.machines import Machine
from provisioner.option_templates import FIELDS, OptionTemplates, client_fields, machine_fields, subnet_fields
from tests.dhcp_messages import OVMF, discover

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SUBNET = Subnet(
    name="rack", cidr="10.77.0.0/24", gateway="10.77.0.254", dns_servers=("10.77.0.2", "10.77.0.3"), domain="lab.test"
)
MACHINE = Machine(id="m1", name="node7", created_at=NOW, updated_at=NOW, meta={"rack": "r12"})
RELAYED = discover(1, options=OVMF | {12: b"pc9", 82: b"\1\4eth1\2\2\xff\0"}, giaddr="10.9.0.1")
TEMPLATES = OptionTemplates()


def fixed(text, name="ntp-servers"):
    return TEMPLATES.fixed({name: text}, SUBNET, "10.77.0.1")


def own(text, name="root-path", machine=MACHINE, request=RELAYED):
    return TEMPLATES.own({name: text}, SUBNET, "10.77.0.1", request, "10.77.0.9", machine)


@pytest.mark.parametrize(
    ("name", "text", "code", "value"),
    [
        ("ntp-servers", "{{ subnet.gateway }}", 42, bytes((10, 77, 0, 254))),
        ("ntp-servers", "{{ subnet.dns_servers | join(', ') }}", 42, bytes((10, 77, 0, 2, 10, 77, 0, 3))),
        ("150", "{{ server.address }}", 150, bytes((10, 77, 0, 1))),
        ("root-path", "nfs://{{ server.address }}/{{ subnet.name }}", 17, b"nfs://10.77.0.1/rack"),
        ("121", "10.0.0.0/8 via {{ subnet.gateway }}", 121, bytes((8, 10, 10, 77, 0, 254))),
        ("ntp-servers", "10.0.0.3", 42, bytes((10, 0, 0, 3))),
        ("domain-search", "{% if subnet.domain %}{{ subnet.domain }}{% endif %}", 119, b"\3lab\4test\0"),
    ],
)
def test_what_names_subnet_and_server_is_the_same_for_every_client(name, text, code, value):
    assert fixed(text, name) == ({code: value}, [])
    assert own(text, name) == ({}, [])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{{ machine.name }}", b"node7"),
        ("/{{ machine.meta.rack }}/{{ machine.name }}", b"/r12/node7"),
        ("{{ client.mac }} {{ client.address }}", b"52:54:00:00:00:01 10.77.0.9"),
        ("{{ client.options['host-name'] }}", b"pc9"),
        ("{{ client.options['12'] }} {{ client.hostname }}", b"pc9 pc9"),
        ("{{ client.relay }} {{ client.circuit_id }} {{ client.remote_id }}", b"10.9.0.1 eth1 ff00"),
        ("{{ client.options.get('root-path', 'none') }}", b"none"),
        ("{{ client.options['root-path'] | default('none') }}", b"none"),
        ("{{ machine.name if machine else 'stranger' }} in {{ subnet.name }}", b"node7 in rack"),
    ],
)
def test_what_names_the_client_or_its_machine_is_filled_in_for_it(text, value):
    assert TEMPLATES.problems({"root-path": text}, SUBNET) == []
    assert fixed(text, "root-path") == ({}, [])
    assert own(text) == ({17: value}, [])


def test_a_stranger_does_not_get_what_names_its_machine_unless_the_template_copes():
    options, [problem] = own("{{ machine.name }}", machine=None)
    assert (options, problem.option) == ({}, "root-path")
    assert own("{{ machine.name if machine else 'stranger' }}", machine=None).options == {17: b"stranger"}


def test_a_client_does_not_get_what_names_an_option_that_it_did_not_send():
    options, [problem] = own("{{ client.options['root-path'] }}")
    assert options == {}
    assert "root-path" in problem.message


def test_a_value_that_comes_out_wrong_is_left_out():
    options, [problem] = own("{{ machine.name }}", "ntp-servers")
    assert (options, problem.option) == ({}, "ntp-servers")
    assert "'node7'" in problem.message


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("ntp-servers", "{{ subnet.gatewey }}", "line 1: unknown field of subnet 'gatewey'; there is: broadcast, cidr"),
        ("ntp-servers", "{{ gateway }}", "the template names 'gateway': unknown name 'gateway'; there is: client"),
        ("ntp-servers", "{{ subnet.gateway", "line 1: unexpected end of template"),
        ("ntp-servers", "{{ subnet.domain }}", "cannot be 'lab.test': it takes IPv4 addresses"),
        ("ntp-servers", "{{ subnet.dns_servers[9] }}", "line 1:"),
        ("root-path", "{{ machine.nane }}", "unknown field of machine 'nane'"),
        ("root-path", "{{ client.options['gatewey'] }}", "unknown DHCP option 'gatewey'"),
        ("root-path", "{{ param('x') }}", "the template names 'param'"),
        ("server-identifier", "{{ server.address }}", "computed by the server"),
        ("gatewey", "{{ server.address }}", "unknown DHCP option 'gatewey'"),
        ("ntp-servers", "soon", "cannot be 'soon'"),
        ("root-path", "{{ 'x' | nofilter }}", "line 1: No filter named 'nofilter'"),
    ],
)
def test_what_is_wrong_is_said_before_it_is_saved(name, text, says):
    [problem] = TEMPLATES.problems({"domain-name": "ok", name: text}, SUBNET)
    assert problem.option == name
    assert says in problem.message


def test_the_options_of_a_reservation_are_checked_without_its_subnet():
    texts = {"root-path": "{{ subnet.name }}/{{ server.address }}", "ntp-servers": "{{ server.address }}"}
    assert TEMPLATES.problems(texts) == []


def test_templates_see_what_is_told_and_nothing_else():
    assert subnet_fields(SUBNET).keys() == FIELDS["subnet"]
    assert machine_fields(MACHINE).keys() == FIELDS["machine"]
    assert client_fields(RELAYED, "").keys() == FIELDS["client"]


def test_a_broken_template_that_is_saved_already_disables_only_itself():
    options, [problem] = TEMPLATES.fixed({"17": "{{ x", "42": "10.0.0.3"}, SUBNET, "10.77.0.1")
    assert (options, problem.option) == ({42: bytes((10, 0, 0, 3))}, "17")


def test_what_templates_see_is_told_in_the_docs():
    lines = (Path(__file__).parent.parent / "docs" / "addresses.md").read_text().splitlines()
    rows = {name: next(line for line in lines if line.startswith(f"| `{name}` |")) for name in FIELDS}
    assert {name: [field for field in fields if f"`{field}`" not in rows[name]] for name, fields in FIELDS.items()} == {
        name: [] for name in FIELDS
    }
