"""Forms for subnets and reservations, and the button that frees a lease."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

import msgspec
from aiohttp import web
from msgspec import Struct

from provisioner.access import require_user
from provisioner.bodies import convert
from provisioner.conductor.ledger import Ledger
from provisioner.conductor.networks import Networks
from provisioner.errors import NotFound, ProvisionerError, unknown
from provisioner.model.addresses import Lease, Picker, Probe, Reservation, Subnet
from provisioner.services.http import principal
from provisioner.services.ui_answers import Answers, posted, redirect, wrong
from provisioner.services.ui_networks import NetworkViews
from provisioner.services.ui_pages import Page
from provisioner.services.ui_views import Views

_LEASES = Page("leases", "/leases", ("body",), "dhcp,dhcp6,object,machine.create,machine.delete,agent.register")
_FORM = Page("network", "/leases")
_SEPARATORS = str.maketrans(",\n", "  ")


class Field(Struct, frozen=True):
    """One field of a form. `kind` is text, number, list (words), choice, switch or options (a line for each)."""

    name: str
    label: str
    kind: str = "text"
    hint: str = ""
    choices: tuple[str, ...] = ()

    def shown(self, value: Any) -> str:
        """The value as it stands in the form."""
        if self.kind == "list":
            return ", ".join(value)
        if self.kind == "options":
            return "\n".join(f"{name} = {text}" for name, text in value.items())
        if self.kind == "switch":
            return "yes" if value else ""
        return str(value)

    def read(self, form: Mapping[str, str]) -> Any:
        """The value that stands in a posted form; raises Invalid."""
        text = form.get(self.name, "").strip()
        match self.kind:
            case "number":
                if not text.isascii() or not text.isdigit():
                    raise wrong(self.name, f"{text!r} is not a number")
                return int(text[:20])
            case "list":
                return text.translate(_SEPARATORS).split()
            case "options":
                return dict(_option(line) for line in text.splitlines() if line.strip())
            case "switch":
                return bool(text)
        return text


def _option(line: str) -> tuple[str, str]:
    name, equals, value = (part.strip() for part in line.partition("="))
    if not (name and equals and value):
        raise wrong("options", f"{line.strip()!r} is no option; write a line as ntp-servers = 10.0.0.1")
    return name, value


_NAME = Field("name", "Name")
_ADDRESS = Field("address", "Address")
SUBNET_FIELDS = (
    Field("cidr", "Network", hint="such as 10.0.0.0/24"),
    Field("pool_start", "Pool from", hint="handed out to anybody; none: reservations only"),
    Field("pool_end", "Pool to"),
    Field("gateway", "Gateway"),
    Field("dns_servers", "DNS servers", "list", "several with blanks between them"),
    Field("domain", "Domain"),
    Field("next_server", "Boot server", hint="when it is not this one"),
    Field("lease_seconds", "Lease, in seconds", "number"),
    Field("reserved_lease_seconds", "Lease of reserved addresses, in seconds", "number"),
    Field("renew_seconds", "Renewed after, in seconds", "number", "0: half of the lease"),
    Field("rebind_seconds", "Renewed with any server after, in seconds", "number", "0: seven eighths of the lease"),
    Field("shared_network", "Link", hint="subnets with the same are on one link and help each other out"),
    Field("pickers", "How addresses are found", "list", f"in this order, of: {', '.join(Picker)}"),
    Field("probe", "Try addresses before they are offered", "choice", choices=tuple(Probe)),
    Field("only_reservations", "Only reservations: the pool is for nobody", "switch"),
    Field("proxy", "Another server gives the addresses here: say only what to boot", "switch"),
    Field("router_advertisements", "IPv6: tell the link that addresses come by DHCPv6", "switch"),
    Field("enabled", "DHCP answers here", "switch"),
    Field("options", "Further DHCP options", "options", "a line for each, such as ntp-servers = 10.0.0.1"),
    Field("description", "Description"),
)
RESERVATION_FIELDS = (
    Field("mac", "MAC"),
    Field("hostname", "Host name"),
    Field("boot_file", "Boot file", hint="none: by firmware; -: never boot from the network"),
    Field("next_server", "Boot server", hint="when it is not this one"),
    Field("scoped", "Only on the address' own link; else what is said here holds wherever the MAC appears", "switch"),
    Field("options", "Further DHCP options", "options", "a line for each, such as ntp-servers = 10.0.0.1"),
    Field("description", "Description"),
)


class NetworkPages:
    """The routes of the network's pages and forms."""

    def __init__(self, answers: Answers, ledger: Ledger, views: Views, networks: Networks) -> None:
        self._answers = answers
        self._ledger = ledger
        self._views = views
        self._of_networks = NetworkViews(ledger)
        self._networks = networks

    def routes(self) -> list[web.RouteDef]:
        """The routes of this service."""
        return [
            web.get("/leases", self.leases),
            web.post("/leases/{address}/free", self.free),
            web.get("/new-subnet", self.new_subnet),
            web.post("/new-subnet", self.make_subnet),
            web.get("/subnets/{name}", self.subnet),
            web.post("/subnets/{name}", self.save_subnet),
            web.post("/subnets/{name}/delete", self.delete_subnet),
            web.get("/new-reservation", self.new_reservation),
            web.post("/new-reservation", self.make_reservation),
            web.get("/reservations/{address}", self.reservation),
            web.post("/reservations/{address}", self.save_reservation),
            web.post("/reservations/{address}/delete", self.delete_reservation),
        ]

    async def leases(self, request: web.Request) -> web.Response:
        """Subnets, leases and reservations."""
        require_user(principal(request), "use the web UI")
        last = await self._views.last_event()
        return self._answers.live(request, _LEASES, self._of_networks.leases(request.query), last)

    async def free(self, request: web.Request) -> web.Response:
        """Free a lease, after a question."""
        caller = principal(request)
        require_user(caller, "change leases")
        address, form = request.match_info["address"], await posted(request)
        if not form.get("confirmed"):
            question = f"Free {address}? Its client is not told: if it is still there, it goes on to use the address."
            return self._answers.ask(request, question, "Free it", [], "/leases")
        await self._networks.free_lease(address, caller)
        return redirect("/leases")

    # --- subnets ----------------------------------------------------------------------------------------------

    async def new_subnet(self, request: web.Request) -> web.Response:
        """An empty form."""
        require_user(principal(request), "use the web UI")
        return self._form(request, "New subnet", (_NAME, *SUBNET_FIELDS), Subnet(name="", cidr=""))

    async def make_subnet(self, request: web.Request) -> web.Response:
        """Make a subnet."""
        caller, form = principal(request), await posted(request)
        require_user(caller, "change subnets")
        fields = (_NAME, *SUBNET_FIELDS)
        try:
            await self._networks.put_subnet(convert(_document(fields, form), Subnet), caller, new=True)
        except ProvisionerError as error:
            return self._again(request, "New subnet", fields, form, error)
        return redirect("/leases")

    async def subnet(self, request: web.Request) -> web.Response:
        """A subnet's form."""
        require_user(principal(request), "use the web UI")
        found = self._find(Subnet, request.match_info["name"])
        return self._form(request, f"Subnet {found.name}", SUBNET_FIELDS, found, "delete")

    async def save_subnet(self, request: web.Request) -> web.Response:
        """Save a subnet."""
        caller, form = principal(request), await posted(request)
        require_user(caller, "change subnets")
        found = self._find(Subnet, request.match_info["name"])
        try:
            document = {"name": found.name, **_document(SUBNET_FIELDS, form)}
            await self._networks.put_subnet(convert(document, Subnet), caller)
        except ProvisionerError as error:
            return self._again(request, f"Subnet {found.name}", SUBNET_FIELDS, form, error, "delete")
        return redirect("/leases")

    async def delete_subnet(self, request: web.Request) -> web.Response:
        """Remove a subnet, after a question."""
        caller, form = principal(request), await posted(request)
        require_user(caller, "change subnets")
        name = request.match_info["name"]
        if not form.get("confirmed"):
            question = f"Remove subnet {name}? DHCP does not answer there any more; leases run on until they end."
            return self._answers.ask(request, question, "Remove it", [], f"/subnets/{quote(name, safe='')}")
        await self._networks.delete_subnet(name, caller)
        return redirect("/leases")

    # --- reservations -----------------------------------------------------------------------------------------

    async def new_reservation(self, request: web.Request) -> web.Response:
        """An empty form, or one for the lease that the query names."""
        require_user(principal(request), "use the web UI")
        lease = self._ledger.read(Lease, request.query.get("lease", ""))
        wanted = Reservation(address="", mac="")
        if lease is not None:
            wanted = Reservation(address=lease.address, mac=lease.mac, hostname=lease.hostname)
        return self._form(request, "New reservation", (_ADDRESS, *RESERVATION_FIELDS), wanted)

    async def make_reservation(self, request: web.Request) -> web.Response:
        """Make a reservation."""
        caller, form = principal(request), await posted(request)
        require_user(caller, "change reservations")
        fields = (_ADDRESS, *RESERVATION_FIELDS)
        try:
            await self._networks.put_reservation(convert(_document(fields, form), Reservation), caller, new=True)
        except ProvisionerError as error:
            return self._again(request, "New reservation", fields, form, error)
        return redirect("/leases")

    async def reservation(self, request: web.Request) -> web.Response:
        """A reservation's form."""
        require_user(principal(request), "use the web UI")
        found = self._find(Reservation, request.match_info["address"])
        return self._form(request, f"Reservation of {found.address}", RESERVATION_FIELDS, found, "delete")

    async def save_reservation(self, request: web.Request) -> web.Response:
        """Save a reservation."""
        caller, form = principal(request), await posted(request)
        require_user(caller, "change reservations")
        found = self._find(Reservation, request.match_info["address"])
        try:
            document = {"address": found.address, **_document(RESERVATION_FIELDS, form)}
            await self._networks.put_reservation(convert(document, Reservation), caller)
        except ProvisionerError as error:
            return self._again(request, f"Reservation of {found.address}", RESERVATION_FIELDS, form, error, "delete")
        return redirect("/leases")

    async def delete_reservation(self, request: web.Request) -> web.Response:
        """Remove a reservation, after a question."""
        caller, form = principal(request), await posted(request)
        require_user(caller, "change reservations")
        address = request.match_info["address"]
        if not form.get("confirmed"):
            question = f"Keep {address} for nobody?"
            return self._answers.ask(request, question, "Remove it", [], f"/reservations/{address}")
        await self._networks.delete_reservation(address, caller)
        return redirect("/leases")

    # --- forms ------------------------------------------------------------------------------------------------

    def _find(self, cls: type[Any], key: str) -> Any:
        found = self._ledger.get(cls, key)
        if found is None:
            names = [str(getattr(each, "name", "") or each.address) for each in self._ledger.all(cls)]
            raise NotFound(unknown(cls.__name__.lower(), key, names), object=key)
        return found

    def _form(
        self, request: web.Request, title: str, fields: Iterable[Field], value: Any, delete: str = ""
    ) -> web.Response:
        document = msgspec.to_builtins(value)
        shown = [(each, each.shown(document[each.name])) for each in fields]
        return self._page(request, title, shown, delete)

    def _again(
        self,
        request: web.Request,
        title: str,
        fields: Iterable[Field],
        form: Mapping[str, str],
        error: ProvisionerError,
        delete: str = "",
    ) -> web.Response:
        """The form as it was filled in, with what is wrong."""
        shown = [(each, form.get(each.name, "")) for each in fields]
        return self._page(request, title, shown, delete, error)

    def _page(
        self,
        request: web.Request,
        title: str,
        shown: list[tuple[Field, str]],
        delete: str,
        error: ProvisionerError | None = None,
    ) -> web.Response:
        wrong_fields = {each.path.partition(".")[0].partition("[")[0] for each in error.fields} if error else set()
        values = {
            "title": title,
            "fields": shown,
            "wrong": wrong_fields,
            "message": error.message if error else "",
            "action": request.path,
            "delete": f"{quote(request.path)}/{delete}" if delete else "",
        }
        return self._answers.page(request, _FORM, values, error.status if error else 200)


def _document(fields: Iterable[Field], form: Mapping[str, str]) -> dict[str, Any]:
    return {each.name: each.read(form) for each in fields}
