"""The operators' API: machines, jobs, content, addresses, events, login. One set of routes serves all content."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, TypeVar

import msgspec
from aiohttp import web
from msgspec import Meta, Struct
from msgspec.structs import replace

from provisioner.access import Who, require_machine, require_param, require_user
from provisioner.bus import Lagged
from provisioner.conductor.actions import Actions
from provisioner.conductor.catalog import Catalog
from provisioner.conductor.jobs import Jobs
from provisioner.conductor.ledger import Ledger
from provisioner.conductor.machines import MachineChange, Machines
from provisioner.conductor.networks import Networks
from provisioner.conductor.tokens import Tokens
from provisioner.errors import FieldError, Invalid, NotFound
from provisioner.events import Event
from provisioner.model import (
    CONTENT_KINDS,
    Content,
    Job,
    Lease,
    Machine,
    Profile,
    Reservation,
    Stage,
    Subnet,
    TokenPurpose,
)
from provisioner.params import redact, resolve
from provisioner.services.http import body, decode, json, number, principal
from provisioner.services.listing import page
from provisioner.store.database import Database, EventQuery

T = TypeVar("T")
_KEEPALIVE_SECONDS = 15
_LOG_READ_LIMIT = 4 << 20


class LoginBody(Struct, frozen=True):
    """A user's name and password."""

    username: Annotated[str, Meta(max_length=128)]
    password: Annotated[str, Meta(max_length=1024)]


class NewMachine(Struct, frozen=True, forbid_unknown_fields=True):
    """A machine made before it was ever seen."""

    name: str
    macs: tuple[str, ...] = ()
    description: str = ""


class GrantBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Which disk may be erased, for how long."""

    disk: str
    hours: float = 1.0


class CancelBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Why a job is stopped."""

    reason: str = ""


class Api:
    """The routes; every one checks its caller first."""

    def __init__(
        self,
        ledger: Ledger,
        catalog: Catalog,
        machines: Machines,
        jobs: Jobs,
        actions: Actions,
        networks: Networks,
        database: Database,
        tokens: Tokens,
    ) -> None:
        self._ledger = ledger
        self._catalog = catalog
        self._machines = machines
        self._jobs = jobs
        self._actions = actions
        self._networks = networks
        self._database = database
        self._tokens = tokens

    def login_routes(self) -> list[web.RouteDef]:
        """Where passwords are taken: never on the provisioning network."""
        return [web.post("/api/v1/login", self.log_in), web.post("/api/v1/logout", self.log_out)]

    def routes(self) -> list[web.RouteDef]:
        """Everything else."""
        base, machine, job = "/api/v1", "/api/v1/machines/{machine}", "/api/v1/jobs/{job}"
        return [
            web.get(f"{base}/machines", self.list_machines),
            web.post(f"{base}/machines", self.create_machine),
            web.get(machine, self.get_machine),
            web.patch(machine, self.change_machine),
            web.delete(machine, self.delete_machine),
            web.post(f"{machine}/grants", self.grant),
            web.get(f"{machine}/params", self.get_params),
            web.get(machine + "/params/{name:.+}", self.get_param),
            web.put(machine + "/params/{name:.+}", self.put_param),
            web.delete(machine + "/params/{name:.+}", self.delete_param),
            web.get(f"{machine}/actions", self.list_actions),
            web.post(machine + "/actions/{action}", self.act),
            web.get(f"{base}/jobs", self.list_jobs),
            web.get(job, self.get_job),
            web.get(f"{job}/log", self.get_log),
            web.get(f"{job}/actions", self.get_rendered),
            web.post(f"{job}/cancel", self.cancel_job),
            web.get(f"{base}/events", self.list_events),
            web.get(f"{base}/events/stream", self.stream_events),
            web.get(f"{base}/leases", self.list_leases),
            web.get(f"{base}/subnets", self.list_subnets),
            web.post(f"{base}/subnets", self.put_subnet),
            web.get(base + "/subnets/{name}", self.get_subnet),
            web.put(base + "/subnets/{name}", self.put_subnet),
            web.delete(base + "/subnets/{name}", self.delete_subnet),
            web.get(f"{base}/reservations", self.list_reservations),
            web.post(f"{base}/reservations", self.put_reservation),
            web.get(base + "/reservations/{address}", self.get_reservation),
            web.put(base + "/reservations/{address}", self.put_reservation),
            web.delete(base + "/reservations/{address}", self.delete_reservation),
            *self._content_routes(),
        ]

    def _content_routes(self) -> list[web.RouteDef]:
        kinds = "|".join(CONTENT_KINDS)
        collection = f"/api/v1/{{kind:{kinds}}}"
        item = collection + "/{name:.+}"
        return [
            web.get(collection, self.list_content),
            web.post(collection, self.create_content),
            web.get(item, self.get_content),
            web.put(item, self.put_content),
            web.delete(item, self.delete_content),
        ]

    # --- access -----------------------------------------------------------------------------------------------

    async def log_in(self, request: web.Request) -> web.Response:
        """A token for a user name and password."""
        said = await body(request, LoginBody)
        secret = await self._tokens.log_in(said.username, said.password, TokenPurpose.API, request.remote or "")
        return json({"token": secret})

    async def log_out(self, request: web.Request) -> web.Response:
        """End the token that is sent."""
        _, _, secret = request.headers.get("Authorization", "").partition(" ")
        await self._tokens.log_out(secret)
        return web.Response(status=204)

    def _user(self, request: web.Request, verb: str) -> None:
        require_user(principal(request), verb)

    def _machine(self, request: web.Request, verb: str, *, itself: bool = False) -> Machine:
        caller = principal(request)
        name = request.match_info["machine"]
        if itself and caller.who is Who.MACHINE:
            require_machine(caller, name, verb)
        else:
            require_user(caller, verb)
        return self._machines.find(name)

    # --- machines ---------------------------------------------------------------------------------------------

    def _show(self, machine: Machine) -> dict[str, Any]:
        shown: dict[str, Any] = msgspec.to_builtins(machine, builtin_types=())
        shown["params"] = redact(machine.params, self._catalog.view)
        return shown | {"available": machine.available, "done": machine.done}

    def _show_short(self, machine: Machine) -> dict[str, Any]:
        return self._show(replace(machine, inventory={}))

    async def list_machines(self, request: web.Request) -> web.Response:
        """Machines; inventories are left out of lists."""
        self._user(request, "list machines")
        return json(page(self._ledger.read_all(Machine), Machine, request.query, self._show_short))

    async def create_machine(self, request: web.Request) -> web.Response:
        """Make a machine before it was ever seen."""
        self._user(request, "create machines")
        asked = await body(request, NewMachine)
        made = await self._machines.create(asked.name, asked.macs, asked.description, principal(request))
        return json(self._show(made), status=201)

    async def get_machine(self, request: web.Request) -> web.Response:
        """One machine by id or name."""
        return json(self._show(self._machine(request, "read machines", itself=True)))

    async def change_machine(self, request: web.Request) -> web.Response:
        """Change some fields of a machine (merge-patch)."""
        machine = self._machine(request, "change machines")
        change = await body(request, MachineChange)
        force = request.query.get("force") == "true"
        return json(self._show(await self._machines.change(machine.id, change, principal(request), force=force)))

    async def delete_machine(self, request: web.Request) -> web.Response:
        """Forget a machine."""
        machine = self._machine(request, "delete machines")
        await self._machines.delete(machine.id, principal(request))
        return json(self._show(machine))

    async def grant(self, request: web.Request) -> web.Response:
        """Allow a disk of this machine to be erased for some hours."""
        machine = self._machine(request, "grant erasure")
        asked = await body(request, GrantBody)
        granted = await self._machines.grant_erase(machine.id, asked.disk, asked.hours, principal(request))
        return json(self._show(granted), status=201)

    async def get_params(self, request: web.Request) -> web.Response:
        """The machine's own params, or with `aggregate=true` all that it has from anywhere; secure ones hidden."""
        machine = self._machine(request, "read params", itself=True)
        view = self._catalog.view
        if request.query.get("aggregate") != "true":
            return json(redact(machine.params, view))
        values = {name: found.value for name, found in resolve(machine, view).items()}
        return json(redact(values, view))

    async def get_param(self, request: web.Request) -> web.Response:
        """The value the machine has for one param."""
        machine = self._machine(request, "read params", itself=True)
        name = request.match_info["name"]
        found = resolve(machine, self._catalog.view).get(name)
        if found is None:
            raise NotFound(f"machine {machine.name} has no value for param {name!r}", object=machine.id)
        return json(redact({name: found.value}, self._catalog.view)[name])

    async def put_param(self, request: web.Request) -> web.Response:
        """Set one param of the machine itself."""
        machine = self._machine(request, "set params", itself=True)
        name = request.match_info["name"]
        require_param(principal(request), name, name in resolve(machine, self._catalog.view))
        await self._machines.set_param(machine.id, name, await body(request, Any), principal(request))
        return web.Response(status=204)

    async def delete_param(self, request: web.Request) -> web.Response:
        """Remove one param of the machine itself."""
        machine = self._machine(request, "set params", itself=True)
        require_param(principal(request), request.match_info["name"], has_value=True)
        await self._machines.drop_param(machine.id, request.match_info["name"], principal(request))
        return web.Response(status=204)

    async def list_actions(self, request: web.Request) -> web.Response:
        """The actions, and for each that cannot be used on this machine why not."""
        return json(self._actions.choices(self._machine(request, "list actions").id))

    async def act(self, request: web.Request) -> web.Response:
        """Carry out an action and answer what was read back."""
        machine = self._machine(request, "use actions")
        return json(await self._actions.perform(machine.id, request.match_info["action"], principal(request)))

    # --- jobs -------------------------------------------------------------------------------------------------

    def _show_job(self, job: Job) -> dict[str, Any]:
        shown: dict[str, Any] = msgspec.to_builtins(job, builtin_types=())
        return shown | {"progress": self._jobs.progress(job.id)}

    def _job(self, request: web.Request, verb: str) -> Job:
        caller = principal(request)
        if caller.who is Who.MACHINE:
            job = self._jobs.find(request.match_info["job"])
            require_machine(caller, job.machine, verb)
            return job
        require_user(caller, verb)
        return self._jobs.find(request.match_info["job"])

    async def list_jobs(self, request: web.Request) -> web.Response:
        """Jobs; `machine` may be an id or a name."""
        self._user(request, "list jobs")
        query = dict(request.query)
        if "machine" in query:
            query["machine"] = self._machines.find(query["machine"]).id
        return json(page(self._ledger.read_all(Job), Job, query, self._show_job))

    async def get_job(self, request: web.Request) -> web.Response:
        """One job."""
        return json(self._show_job(self._job(request, "read jobs")))

    async def get_log(self, request: web.Request) -> web.Response:
        """Bytes of a job's log from `offset`; with `wait`, waits so many seconds for more."""
        job = self._job(request, "read logs")
        offset = number(request, "offset", 0, 0, 1 << 53)
        wait = number(request, "wait", 0, 0, 60)
        limit = number(request, "limit", _LOG_READ_LIMIT, 1, _LOG_READ_LIMIT)
        data, size = await self._jobs.read_log(job.id, offset, limit, wait)
        state = self._jobs.find(job.id).state.value
        return web.Response(
            body=data,
            content_type="application/octet-stream",
            headers={"X-Log-Size": str(size), "X-Job-State": state, "Cache-Control": "no-store"},
        )

    async def get_rendered(self, request: web.Request) -> web.Response:
        """The files of the job as they were rendered and run."""
        job = self._job(request, "read rendered actions")
        doc = await self._database.actions(job.id)
        return web.Response(body=doc or b"[]", content_type="application/json")

    async def cancel_job(self, request: web.Request) -> web.Response:
        """Stop a job."""
        self._user(request, "cancel jobs")
        asked = await body(request, CancelBody)
        return json(await self._jobs.cancel(request.match_info["job"], asked.reason, principal(request)))

    # --- content ----------------------------------------------------------------------------------------------

    async def list_content(self, request: web.Request) -> web.Response:
        """Objects of one kind."""
        self._user(request, "list content")
        kind = request.match_info["kind"]
        return json(page(self._catalog.view[kind].values(), CONTENT_KINDS[kind], request.query, self._show_content))

    def _show_content(self, value: Content) -> Content:
        """An object without the values of its secure params."""
        if isinstance(value, Profile | Stage):
            return replace(value, params=redact(value.params, self._catalog.view))
        return value

    async def get_content(self, request: web.Request) -> web.Response:
        """One object."""
        self._user(request, "read content")
        return json(self._show_content(self._catalog.find(request.match_info["kind"], request.match_info["name"])))

    async def create_content(self, request: web.Request) -> web.Response:
        """Make an object; its name must be new."""
        self._user(request, "change content")
        kind = request.match_info["kind"]
        value = await body(request, CONTENT_KINDS[kind])
        if value.name in self._catalog.view[kind]:
            raise Invalid(f"there is a {kind.removesuffix('s')} {value.name!r} already", status=409, code="name-taken")
        return json(self._show_content(await self._catalog.put(value, principal(request))), status=201)

    async def put_content(self, request: web.Request) -> web.Response:
        """Save an object under its name."""
        self._user(request, "change content")
        kind = request.match_info["kind"]
        value = await self._named_body(request, CONTENT_KINDS[kind], "name")
        return json(self._show_content(await self._catalog.put(value, principal(request))))

    async def _named_body(self, request: web.Request, cls: type[T], key: str) -> T:
        """The body as a value; with a name in the URL it need not say its name, but must not say another one."""
        named = request.match_info.get(key)
        if named is None:
            return await body(request, cls)
        said = {key: named, **await body(request, dict[str, Any])}
        if said[key] != named:
            message = f"the body says {said[key]!r}, the address of the request says {named!r}"
            raise Invalid(f"{key}: {message}", object=named, fields=(FieldError(key, message),))
        return decode(msgspec.json.encode(said), cls)

    async def delete_content(self, request: web.Request) -> web.Response:
        """Remove an object that nothing uses."""
        self._user(request, "change content")
        kind, name = request.match_info["kind"], request.match_info["name"]
        return json(await self._catalog.delete(kind, name, principal(request)))

    # --- addresses --------------------------------------------------------------------------------------------

    async def list_leases(self, request: web.Request) -> web.Response:
        """Leases."""
        self._user(request, "list leases")
        return json(page(self._ledger.read_all(Lease), Lease, request.query, lambda each: each))

    async def list_subnets(self, request: web.Request) -> web.Response:
        """Subnets."""
        self._user(request, "list subnets")
        return json(page(self._ledger.read_all(Subnet), Subnet, request.query, lambda each: each))

    async def get_subnet(self, request: web.Request) -> web.Response:
        """One subnet."""
        self._user(request, "read subnets")
        return json(_found(self._ledger.read(Subnet, request.match_info["name"]), "subnet", request.match_info["name"]))

    async def put_subnet(self, request: web.Request) -> web.Response:
        """Make or save a subnet."""
        self._user(request, "change subnets")
        subnet = await self._named_body(request, Subnet, "name")
        made = self._ledger.read(Subnet, subnet.name) is None
        saved = await self._networks.put_subnet(subnet, principal(request), new=request.method == "POST")
        return json(saved, status=201 if made else 200)

    async def delete_subnet(self, request: web.Request) -> web.Response:
        """Remove a subnet; its leases are kept until they end."""
        self._user(request, "change subnets")
        return json(await self._networks.delete_subnet(request.match_info["name"], principal(request)))

    async def list_reservations(self, request: web.Request) -> web.Response:
        """Reservations."""
        self._user(request, "list reservations")
        return json(page(self._ledger.read_all(Reservation), Reservation, request.query, lambda each: each))

    async def get_reservation(self, request: web.Request) -> web.Response:
        """One reservation."""
        self._user(request, "read reservations")
        address = request.match_info["address"]
        return json(_found(self._ledger.read(Reservation, address), "reservation", address))

    async def put_reservation(self, request: web.Request) -> web.Response:
        """Make or save a reservation."""
        self._user(request, "change reservations")
        reservation = await self._named_body(request, Reservation, "address")
        made = self._ledger.read(Reservation, reservation.address) is None
        saved = await self._networks.put_reservation(reservation, principal(request), new=request.method == "POST")
        return json(saved, status=201 if made else 200)

    async def delete_reservation(self, request: web.Request) -> web.Response:
        """Remove a reservation."""
        self._user(request, "change reservations")
        return json(await self._networks.delete_reservation(request.match_info["address"], principal(request)))

    # --- events -----------------------------------------------------------------------------------------------

    def _query(self, request: web.Request, machine: Machine | None) -> EventQuery:
        return EventQuery(
            machine=machine.id if machine else "",
            macs=machine.macs if machine else (),
            kinds=tuple(filter(None, request.query.get("kind", "").split(","))),
            key=request.query.get("key", ""),
            after=number(request, "after", 0, 0, 1 << 53),
            before=number(request, "before", 0, 0, 1 << 53),
            limit=number(request, "limit", 200, 1, 5000),
            newest_first=request.query.get("order") == "newest",
        )

    def _asked_machine(self, request: web.Request) -> Machine | None:
        name = request.query.get("machine", "")
        return self._machines.find(name) if name else None

    async def list_events(self, request: web.Request) -> web.Response:
        """Events; of a machine also those of its MACs from before it was known."""
        self._user(request, "read events")
        found = await self._database.events(self._query(request, self._asked_machine(request)))
        return json({"items": found, "total": len(found), "next": str(found[-1].id) if found else None})

    async def stream_events(self, request: web.Request) -> web.StreamResponse:
        """Events as they are published (server-sent events), from after `Last-Event-ID` on when that is given."""
        self._user(request, "read events")
        machine = self._asked_machine(request)
        kinds = tuple(filter(None, request.query.get("kind", "").split(",")))
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        )
        await response.prepare(request)
        with self._ledger.bus.subscribe() as subscription:
            seen = await self._catch_up(request, response, machine, kinds)
            await response.write(b": listening\n\n")
            while True:
                try:
                    async with asyncio.timeout(_KEEPALIVE_SECONDS):
                        event = await subscription.next()
                except TimeoutError:
                    await response.write(b": still here\n\n")
                    continue
                except Lagged:
                    # The browser reconnects with the last id it saw and catches up from the store.
                    return response
                if (event.id == 0 or event.id > seen) and _concerns(event, machine, kinds):
                    await response.write(_frame(event))

    async def _catch_up(
        self, request: web.Request, response: web.StreamResponse, machine: Machine | None, kinds: tuple[str, ...]
    ) -> int:
        text = request.headers.get("Last-Event-ID", request.query.get("after", ""))
        if not (text.isascii() and text.isdigit()):
            return 0
        seen = int(text[:18])
        while True:
            query = EventQuery(
                machine=machine.id if machine else "", macs=machine.macs if machine else (), kinds=kinds, after=seen
            )
            missed = await self._database.events(query)
            for event in missed:
                await response.write(_frame(event))
                seen = event.id
            if len(missed) < query.limit:
                return seen


def _concerns(event: Event, machine: Machine | None, kinds: tuple[str, ...]) -> bool:
    if kinds and event.kind not in kinds and event.kind.partition(".")[0] not in kinds:
        return False
    return machine is None or event.machine == machine.id or event.mac in machine.macs


def _frame(event: Event) -> bytes:
    number = b"id: %d\n" % event.id if event.id else b""
    return number + b"data: " + msgspec.json.encode(event) + b"\n\n"


def _found(value: Any, word: str, name: str) -> Any:
    if value is None:
        raise NotFound(f"there is no {word} {name!r}", object=name)
    return value
