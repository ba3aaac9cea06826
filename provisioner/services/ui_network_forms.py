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
from provisioner.errors import Conflict, NotFound, ProvisionerError, unknown
from provisioner.model.addresses import Lease, Picker, Probe, Reservation, Subnet
from provisioner.services.http import principal
from provisioner.services.ui_answers import Answers, posted, redirect
from provisioner.services.ui_fields import Field, read_all, sections, wrong_by_field
from provisioner.services.ui_networks import Here, NetworkViews, nowhere, suggested
from provisioner.services.ui_pages import Page
from provisioner.services.ui_views import Views

_LEASES = Page("leases", "/leases", ("body",), "dhcp,dhcp6,object,machine.create,machine.delete,agent.register")
_FORM = Page("network", "/leases")


_NAME = Field("name", "Name", hint="yours to choose, such as rack-1")
_ADDRESS = Field("address", "Address", hint="such as 10.0.0.20")
_LEASES_SECTION = "Lease times"
_FINDING_SECTION = "How addresses are found"
_BOOT_SECTION = "Boot server and further DHCP options"
_TIME_HINT = "in seconds, or as 90m, 12h, 7d"
_OPTIONS_HINT = "a line for each, such as ntp-servers = 10.0.0.1"
SUBNET_FIELDS = (
    Field("cidr", "Network", hint="such as 10.0.0.0/24 or fd00:1::/64"),
    Field("pool_start", "Pool from", hint="its addresses are for anybody; no pool: only reserved ones are given"),
    Field("pool_end", "Pool to"),
    Field("gateway", "Gateway", hint="the router of the machines; may be none"),
    Field("dns_servers", "DNS servers", "list", "several with blanks between them"),
    Field("domain", "Domain", hint="such as lab.example"),
    Field("description", "Description"),
    Field("enabled", "DHCP answers here", "switch"),
    Field("proxy", "Another server gives the addresses here: say only what to boot", "switch"),
    Field("lease_seconds", "Lease", "seconds", _TIME_HINT, section=_LEASES_SECTION),
    Field("reserved_lease_seconds", "Lease of reserved addresses", "seconds", _TIME_HINT, section=_LEASES_SECTION),
    Field("renew_seconds", "Renewed after", "seconds", "0: half of the lease", section=_LEASES_SECTION),
    Field(
        "rebind_seconds",
        "Renewed with any server after",
        "seconds",
        "0: seven eighths of the lease",
        section=_LEASES_SECTION,
    ),
    Field("pickers", "Pickers", "list", f"tried in this order, of: {', '.join(Picker)}", section=_FINDING_SECTION),
    Field(
        "probe",
        "Ask whether an address is in use before it is offered",
        "choice",
        choices=tuple(Probe),
        section=_FINDING_SECTION,
    ),
    Field(
        "shared_network",
        "Link",
        hint="subnets with the same are on one link and help each other out",
        section=_FINDING_SECTION,
    ),
    Field("only_reservations", "Only reservations: the pool is for nobody", "switch", section=_FINDING_SECTION),
    Field(
        "router_advertisements",
        "IPv6: tell the link that addresses come by DHCPv6",
        "switch",
        section=_FINDING_SECTION,
    ),
    Field("next_server", "Boot server", hint="when it is not this one", section=_BOOT_SECTION),
    Field("options", "Further DHCP options", "options", _OPTIONS_HINT, section=_BOOT_SECTION),
)
RESERVATION_FIELDS = (
    Field("mac", "MAC", hint="such as 52:54:00:12:34:56"),
    Field("hostname", "Host name"),
    Field("boot_file", "Boot file", hint="a loader, file or URL; none: by firmware; -: never boot from the network"),
    Field("description", "Description"),
    Field(
        "scoped",
        "Only on the address' own link; else what is said here holds wherever the MAC appears",
        "switch",
        section=_BOOT_SECTION,
    ),
    Field("next_server", "Boot server", hint="when it is not this one", section=_BOOT_SECTION),
    Field("options", "Further DHCP options", "options", _OPTIONS_HINT, section=_BOOT_SECTION),
)
_NO_RESERVATION = Reservation(address="", mac="")
_USUAL: dict[type[Subnet] | type[Reservation], Subnet | Reservation] = {
    Subnet: Subnet(name="", cidr=""),
    Reservation: _NO_RESERVATION,
}


class _Form(Struct, frozen=True):
    """A form of subnets or reservations: what it makes, what it is called, and where it is taken away."""

    cls: type[Subnet] | type[Reservation]
    fields: tuple[Field, ...]
    title: str
    done: str
    delete: bool = False

    @property
    def first(self) -> str:
        """The field where one begins to write; none where everything is filled in."""
        return "" if self.delete else self.fields[0].name


_NEW_SUBNET = _Form(Subnet, (_NAME, *SUBNET_FIELDS), "New subnet", "Subnet {name} is saved.")
_NEW_RESERVATION = _Form(
    Reservation, (_ADDRESS, *RESERVATION_FIELDS), "New reservation", "The reservation of {address} is saved."
)


def _form_of(found: Subnet | Reservation) -> _Form:
    """The form that changes what there is."""
    if isinstance(found, Subnet):
        return _Form(Subnet, SUBNET_FIELDS, f"Subnet {found.name}", f"Subnet {found.name} is saved.", True)
    title = f"Reservation of {found.address}"
    return _Form(Reservation, RESERVATION_FIELDS, title, f"The reservation of {found.address} is saved.", True)


class NetworkPages:
    """The routes of the network's pages and forms."""

    def __init__(
        self, answers: Answers, ledger: Ledger, views: Views, networks: Networks, here: Here = nowhere
    ) -> None:
        self._answers = answers
        self._ledger = ledger
        self._views = views
        self._of_networks = NetworkViews(ledger, here)
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
        """An empty form, or one for the network of ours that the query names."""
        require_user(principal(request), "use the web UI")
        wanted = suggested(request.query.get("network", ""), self._of_networks.here())
        return self._empty(request, _NEW_SUBNET, wanted)

    async def make_subnet(self, request: web.Request) -> web.Response:
        """Make a subnet."""
        caller, form = principal(request), await posted(request)
        require_user(caller, "change subnets")
        try:
            made = convert(read_all(_NEW_SUBNET.fields, form), Subnet)
            await self._networks.put_subnet(made, caller, new=True)
        except ProvisionerError as error:
            return self._again(request, _NEW_SUBNET, form, error)
        return redirect("/leases")

    async def subnet(self, request: web.Request) -> web.Response:
        """A subnet's form."""
        require_user(principal(request), "use the web UI")
        found = self._find(Subnet, request.match_info["name"])
        return self._empty(request, _form_of(found), found)

    async def save_subnet(self, request: web.Request) -> web.Response:
        """Save a subnet."""
        caller, form = principal(request), await posted(request)
        require_user(caller, "change subnets")
        found = self._find(Subnet, request.match_info["name"])
        try:
            document = {"name": found.name, **read_all(SUBNET_FIELDS, form)}
            await self._networks.put_subnet(convert(document, Subnet), caller)
        except ProvisionerError as error:
            return self._again(request, _form_of(found), form, error)
        return redirect("/leases")

    async def delete_subnet(self, request: web.Request) -> web.Response:
        """Remove a subnet, after a question."""
        caller, form = principal(request), await posted(request)
        require_user(caller, "change subnets")
        found = self._find(Subnet, request.match_info["name"])
        path = f"/subnets/{quote(found.name, safe='')}"
        if not form.get("confirmed"):
            question = f"Remove subnet {found.name}? DHCP does not answer there any more; leases run on until they end."
            return self._answers.ask(request, question, "Remove it", [], path)
        try:
            await self._networks.delete_subnet(found.name, caller)
        except Conflict as error:
            return self._page(request, _form_of(found), _shown(found, SUBNET_FIELDS), error, path)
        return redirect("/leases")

    # --- reservations -----------------------------------------------------------------------------------------

    async def new_reservation(self, request: web.Request) -> web.Response:
        """An empty form, or one for the lease that the query names."""
        require_user(principal(request), "use the web UI")
        lease = self._ledger.read(Lease, request.query.get("lease", ""))
        wanted = _NO_RESERVATION
        if lease is not None:
            wanted = Reservation(address=lease.address, mac=lease.mac, hostname=lease.hostname)
        return self._empty(request, _NEW_RESERVATION, wanted)

    async def make_reservation(self, request: web.Request) -> web.Response:
        """Make a reservation."""
        caller, form = principal(request), await posted(request)
        require_user(caller, "change reservations")
        try:
            made = convert(read_all(_NEW_RESERVATION.fields, form), Reservation)
            await self._networks.put_reservation(made, caller, new=True)
        except ProvisionerError as error:
            return self._again(request, _NEW_RESERVATION, form, error)
        return redirect("/leases")

    async def reservation(self, request: web.Request) -> web.Response:
        """A reservation's form."""
        require_user(principal(request), "use the web UI")
        found = self._find(Reservation, request.match_info["address"])
        return self._empty(request, _form_of(found), found)

    async def save_reservation(self, request: web.Request) -> web.Response:
        """Save a reservation."""
        caller, form = principal(request), await posted(request)
        require_user(caller, "change reservations")
        found = self._find(Reservation, request.match_info["address"])
        try:
            document = {"address": found.address, **read_all(RESERVATION_FIELDS, form)}
            await self._networks.put_reservation(convert(document, Reservation), caller)
        except ProvisionerError as error:
            return self._again(request, _form_of(found), form, error)
        return redirect("/leases")

    async def delete_reservation(self, request: web.Request) -> web.Response:
        """Remove a reservation, after a question."""
        caller, form = principal(request), await posted(request)
        require_user(caller, "change reservations")
        address = request.match_info["address"]
        if not form.get("confirmed"):
            question = f"Keep {address} for nobody?"
            return self._answers.ask(request, question, "Remove it", [], f"/reservations/{quote(address, safe='')}")
        await self._networks.delete_reservation(address, caller)
        return redirect("/leases")

    # --- forms ------------------------------------------------------------------------------------------------

    def _find(self, cls: type[Any], key: str) -> Any:
        found = self._ledger.get(cls, key)
        if found is None:
            names = [str(getattr(each, "name", "") or each.address) for each in self._ledger.all(cls)]
            raise NotFound(unknown(cls.__name__.lower(), key, names), object=key)
        return found

    def _empty(self, request: web.Request, form: _Form, value: Subnet | Reservation) -> web.Response:
        """The form before anything was done with it."""
        return self._page(request, form, _shown(value, form.fields))

    def _again(
        self, request: web.Request, form: _Form, filled: Mapping[str, str], error: ProvisionerError
    ) -> web.Response:
        """The form as it was filled in, with what is wrong."""
        return self._page(request, form, filled, error)

    def _page(
        self,
        request: web.Request,
        form: _Form,
        shown: Mapping[str, str],
        error: ProvisionerError | None = None,
        action: str = "",
    ) -> web.Response:
        wrong, message = wrong_by_field(error, form.fields) if error else ({}, "")
        action = action or request.rel_url.raw_path
        values = {
            "title": form.title,
            "sections": sections(form.fields, shown, _shown(_USUAL[form.cls], form.fields), wrong),
            "wrong": [(each.name, each.label) for each in form.fields if each.name in wrong],
            "first": next((each.name for each in form.fields if each.name in wrong), form.first),
            "message": message,
            "action": action,
            "done": form.done,
            "delete": f"{action}/delete" if form.delete else "",
        }
        return self._answers.page(request, _FORM, values, error.status if error else 200)


def _shown(value: Subnet | Reservation, fields: Iterable[Field]) -> dict[str, str]:
    document = msgspec.to_builtins(value)
    return {each.name: each.shown(document[each.name]) for each in fields}
