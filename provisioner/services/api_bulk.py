"""The same for many machines in one request, and the operations that go on after it."""

from __future__ import annotations

from urllib.parse import parse_qsl

from aiohttp import web
from msgspec.structs import asdict
from multidict import MultiDict

from provisioner.conductor.bulk import Bulk, BulkResult, BulkWork
from provisioner.conductor.catalog import Catalog
from provisioner.conductor.ledger import Ledger
from provisioner.conductor.operations import Operations
from provisioner.errors import FieldError, Invalid
from provisioner.model.machines import Machine
from provisioner.model.operations import Operation as LongAction
from provisioner.services.api_machine_verbs import operation_begun
from provisioner.services.api_machines import listing_of
from provisioner.services.callers import require
from provisioner.services.http import body, json, principal
from provisioner.services.listing import PAGING, flag
from provisioner.services.operations import Operation
from provisioner.services.resources import Resource, Routes

_MOST_FILTERS = 64


class BulkBody(BulkWork, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which machines, and what is done to each.

    Machines are either named by ids and names, or all that fit `filter`, written as the query of `GET /machines`; an
    empty filter fits all there are.
    """

    filter: str | None = None
    machines: tuple[str, ...] | None = None


class BulkRoutes:
    """The routes of bulk work and operations; every one checks its caller first."""

    def __init__(self, ledger: Ledger, catalog: Catalog, bulk: Bulk, operations: Operations) -> None:
        self._ledger = ledger
        self._catalog = catalog
        self._bulk = bulk
        self._operations = operations

    def operations(self) -> list[Operation]:
        """What can be done with many machines at once."""
        example = {"filter": "stage=discover&meta.rack=7", "change": {"workflow": "deploy"}, "dry_run": True}
        answers = {200: BulkResult, 202: LongAction}
        return [
            Operation("POST", "/api/v1/bulk/machines", self.do, "machines", answers, body=BulkBody, example=example),
            *Routes(self._resource()).operations(),
        ]

    def _resource(self) -> Resource:
        return Resource(
            cls=LongAction,
            plural="operations",
            key="id",
            tag="operations",
            all=lambda: self._ledger.read_all(LongAction),
            read=lambda name: self._ledger.read(LongAction, name),
            get=lambda name: self._ledger.get(LongAction, name),
            order="started_at",
        )

    async def do(self, request: web.Request) -> web.Response:
        """Do the same to many machines: each has a result of its own; power actions are an operation to follow."""
        require(request, "change machines")
        asked = await body(request, BulkBody)
        work = BulkWork(**{name: value for name, value in asdict(asked).items() if name not in ("filter", "machines")})
        self._bulk.check(work)
        if work.verb == "delete":
            require(request, "delete machines")
        if work.action:
            require(request, "use actions")
        machines = self._chosen(asked)
        if work.action and not work.dry_run:
            return operation_begun(await self._bulk.begin(machines, work, principal(request)))
        return json(await self._bulk.do(machines, work, principal(request)))

    def _chosen(self, asked: BulkBody) -> list[str]:
        if (asked.filter is None) == (asked.machines is None):
            message = "say which machines: either `filter` or `machines`"
            raise Invalid(message, fields=(FieldError("filter", message),))
        if asked.machines is not None:
            return list(dict.fromkeys(asked.machines))
        return self._fitting(asked.filter or "")

    def _fitting(self, text: str) -> list[str]:
        """Ids of the machines that fit a filter as of `GET /machines`, by name."""
        try:
            pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text), max_num_fields=_MOST_FILTERS)
        except ValueError as error:
            message = f"{text[:100]!r} is no query such as stage=discover&meta.rack=7: {error}"
            raise Invalid(f"filter: {message}", fields=(FieldError("filter", message),)) from error
        paging = [name for name, _ in pairs if name in PAGING]
        if paging:
            message = f"{paging[0]!r} is for lists; a bulk takes all machines that fit"
            raise Invalid(f"filter: {message}", fields=(FieldError("filter", message),))
        listing = listing_of(self._catalog.view, flag(MultiDict(pairs), "aggregate"))
        tests = [pair for pair in pairs if pair[0] != "aggregate"]
        found = listing.select(self._ledger.read_all(Machine), tests)
        return [machine.id for machine in sorted(found, key=lambda machine: machine.name)]
