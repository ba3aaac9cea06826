"""DHCP options whose value is a template: `{{ subnet.gateway }}`, `{{ server.address }}`, `{{ machine.name }}`.

What names only the subnet and the server is filled in once, when the configuration changes. What names the machine or
the client is filled in for each reply; where that fails (a stranger has no machine, this client sent no such option),
the client does not get the option. docs/addresses.md tells what templates see.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Network
from typing import Any, NamedTuple

from jinja2 import Environment, TemplateError
from jinja2.meta import find_undeclared_variables
from jinja2.nodes import Call, Const, Getattr, Getitem, Name, Node

from agent.errors import RenderError
from agent.render import FILTERS, Renderer
from provisioner.errors import Invalid, unknown
from provisioner.model.addresses import Subnet
from provisioner.model.machines import Machine
from provisioner.wire.dhcp import DhcpMessage
from provisioner.wire.dhcp_options import (
    CLIENT_ARCH,
    CLIENT_UUID,
    HOST_NAME,
    MESSAGE_TYPE,
    RELAY_INFORMATION,
    USER_CLASS,
    VENDOR_CLASS,
    encode_configured,
    option_code,
    option_name,
    relay_option,
    show_option,
)

# What each name has. `machine` and `client` differ with every reply.
FIELDS = {
    "subnet": frozenset(
        {"name", "cidr", "network", "netmask", "broadcast", "gateway", "domain", "next_server", "dns_servers"}
    ),
    "server": frozenset({"address"}),
    "machine": frozenset({"name", "id", "arch", "address", "macs", "meta"}),
    "client": frozenset(
        {"mac", "address", "hostname", "vendor_class", "user_class", "arch", "uuid", "relay", "circuit_id", "remote_id"}
        | {"options"}
    ),
}
_PER_CLIENT = frozenset({"machine", "client"})
# Of the dialect itself (agent.render); params are for scripts, which are rendered for a machine that is known.
_BUILT_IN = frozenset({"range", "dict", "lipsum", "cycler", "joiner", "namespace", "loop", "self", "super", "caller"})
_CIRCUIT_ID, _REMOTE_ID = 1, 2
# Texts of which it is remembered whether they name the client.
_MOST_KNOWN = 1000
# A subnet is checked before anybody asks: some address then stands for ours.
SAMPLE_ADDRESS = "192.0.2.1"


class Problem(NamedTuple):
    """Why an option cannot be had."""

    option: str
    message: str


class Encoded(NamedTuple):
    """Options by code, and what could not be encoded."""

    options: dict[int, bytes]
    problems: list[Problem]


def is_template(text: str) -> bool:
    """Whether the value of an option has to be filled in."""
    return "{{" in text or "{%" in text or "{#" in text


class OptionTemplates:
    """Fills in the options of subnets and reservations; holds compiled templates only."""

    def __init__(self) -> None:
        self._renderer = Renderer()
        # For looking only: the dialect's words, but neither its sandbox nor its way with blanks.
        self._environment = Environment(extensions=["jinja2.ext.loopcontrols"])
        self._environment.filters.update(FILTERS)
        self._own: dict[str, bool] = {}

    def problems(self, texts: Mapping[str, str], subnet: Subnet | None = None) -> list[Problem]:
        """What is wrong with options as they are about to be saved, one for each option that cannot be."""
        found = []
        for name, text in texts.items():
            message = self._problem(name, text, subnet)
            if message:
                found.append(Problem(name, message))
        return found

    def _problem(self, name: str, text: str, subnet: Subnet | None) -> str:
        try:
            if not is_template(text):
                encode_configured({name: text})
                return ""
            # Refuses what nobody may set, whatever it would be.
            encode_configured({name: ""})
            self._renderer.check(name, text)
            for message in self._unknown_names(text):
                return message
            if self.is_own(text) or (subnet is None and "subnet" in self._names(text)):
                return ""
            site = {"server": {"address": SAMPLE_ADDRESS}} | ({"subnet": subnet_fields(subnet)} if subnet else {})
            encode_configured({name: self._render(name, text, site)})
        except RenderError as error:
            return f"line {error.line}: {error.message}" if error.line else error.message
        except Invalid as error:
            return error.message
        return ""

    def is_own(self, text: str) -> bool:
        """Whether the value differs from client to client; no for a template that is broken."""
        found = self._own.get(text)
        if found is None:
            if len(self._own) >= _MOST_KNOWN:
                self._own.clear()
            found = self._own[text] = is_template(text) and self._names_client(text)
        return found

    def _names_client(self, text: str) -> bool:
        try:
            return bool(self._names(text) & _PER_CLIENT)
        except TemplateError:
            return False

    def fixed(self, texts: Mapping[str, str], subnet: Subnet, server: str) -> Encoded:
        """All options that are the same for every client, with `server` as our address."""
        site = {"subnet": subnet_fields(subnet), "server": {"address": server}}
        return self._encoded({name: text for name, text in texts.items() if not self.is_own(text)}, site)

    def own(
        self,
        texts: Mapping[str, str],
        subnet: Subnet,
        server: str,
        request: DhcpMessage,
        address: str,
        machine: Machine | None,
    ) -> Encoded:
        """The options that name the client or its machine, for this client."""
        context = {
            "subnet": subnet_fields(subnet),
            "server": {"address": server},
            "machine": machine_fields(machine) if machine is not None else None,
            "client": client_fields(request, address),
        }
        return self._encoded({name: text for name, text in texts.items() if self.is_own(text)}, context)

    def _encoded(self, texts: Mapping[str, str], context: Mapping[str, Any]) -> Encoded:
        options: dict[int, bytes] = {}
        problems = []
        for name, text in texts.items():
            try:
                options |= encode_configured({name: self._render(name, text, context) if is_template(text) else text})
            except (RenderError, Invalid) as error:
                problems.append(Problem(name, error.message))
        return Encoded(options, problems)

    def _render(self, name: str, text: str, context: Mapping[str, Any]) -> str:
        return self._renderer.render(name, {name: text}, context).strip()

    # --- looking without filling in ---------------------------------------------------------------------------

    def _names(self, text: str) -> set[str]:
        return find_undeclared_variables(self._environment.parse(text))

    def _unknown_names(self, text: str) -> Iterator[str]:
        """What the template names and nobody has, in words."""
        tree = self._environment.parse(text)
        for name in sorted(find_undeclared_variables(tree) - FIELDS.keys() - _BUILT_IN):
            yield f"the template names {name!r}: {unknown('name', name, FIELDS)}"
        node: Node
        for node in tree.find_all((Getattr, Getitem)):
            owner = node.node  # type: ignore[attr-defined]
            field = _field(node)
            if isinstance(owner, Name) and owner.name in FIELDS and field is not None:
                if field not in FIELDS[owner.name]:
                    yield f"line {node.lineno}: {unknown(f'field of {owner.name}', field, FIELDS[owner.name])}"
            elif _is_client_options(owner) and field is not None and not _is_method(node, tree):
                try:
                    option_code(field)
                except Invalid as error:
                    yield f"line {node.lineno}: {error.message}"


def _field(node: Node) -> str | None:
    """The attribute or the constant key that a node asks for."""
    if isinstance(node, Getattr):
        return node.attr
    if isinstance(node, Getitem) and isinstance(node.arg, Const):
        return str(node.arg.value)
    return None


def _is_client_options(node: Node) -> bool:
    return _field(node) == "options" and isinstance(getattr(node, "node", None), Name) and node.node.name == "client"  # type: ignore[attr-defined]


def _is_method(node: Node, tree: Node) -> bool:
    return any(call.node is node for call in tree.find_all(Call))


def subnet_fields(subnet: Subnet) -> dict[str, Any]:
    """What a template knows of a subnet."""
    network = IPv4Network(subnet.cidr)
    return {
        "name": subnet.name,
        "cidr": subnet.cidr,
        "network": str(network.network_address),
        "netmask": str(network.netmask),
        "broadcast": str(network.broadcast_address),
        "gateway": subnet.gateway,
        "domain": subnet.domain,
        "next_server": subnet.next_server,
        "dns_servers": list(subnet.dns_servers),
    }


def machine_fields(machine: Machine) -> dict[str, Any]:
    """What a template knows of a machine."""
    return {name: getattr(machine, name) for name in FIELDS["machine"]}


def client_fields(request: DhcpMessage, address: str) -> dict[str, Any]:
    """What a template knows of a client from its request; `address` is the one that it gets."""
    texts = {code: show_option(code, value) for code, value in request.options.items() if code != MESSAGE_TYPE}
    named = {option_name(code): text for code, text in texts.items()}
    return {
        "mac": request.mac,
        "address": address,
        "hostname": texts.get(HOST_NAME, ""),
        "vendor_class": texts.get(VENDOR_CLASS, ""),
        "user_class": texts.get(USER_CLASS, ""),
        "arch": texts.get(CLIENT_ARCH, ""),
        "uuid": texts.get(CLIENT_UUID, ""),
        "relay": request.giaddr,
        "circuit_id": _relay_text(request, _CIRCUIT_ID),
        "remote_id": _relay_text(request, _REMOTE_ID),
        "options": named | {str(code): text for code, text in texts.items()},
    }


def _relay_text(request: DhcpMessage, suboption: int) -> str:
    """What the relay says, as text where it is text, else as hexadecimal digits."""
    value = relay_option(request.options.get(RELAY_INFORMATION, b""), suboption)
    text = value.decode("ascii", "replace")
    return text if text.isprintable() and text.isascii() else value.hex()
