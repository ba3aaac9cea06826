"""The API that operators use: all its operations together."""

from __future__ import annotations

from provisioner.conductor.actions import Actions
from provisioner.conductor.bulk import Bulk
from provisioner.conductor.catalog import Catalog
from provisioner.conductor.clashes import Clashes
from provisioner.conductor.jobs import Jobs
from provisioner.conductor.ledger import Ledger
from provisioner.conductor.machines import Machines
from provisioner.conductor.networks import Networks
from provisioner.conductor.operations import Operations
from provisioner.conductor.registration import Registrations
from provisioner.conductor.tokens import Tokens
from provisioner.services.api_access import Access
from provisioner.services.api_bulk import BulkRoutes
from provisioner.services.api_clashes import ClashRoutes
from provisioner.services.api_content import ContentRoutes
from provisioner.services.api_events import EventRoutes
from provisioner.services.api_jobs import JobRoutes
from provisioner.services.api_machine_verbs import MachineVerbs
from provisioner.services.api_machines import MachineRoutes
from provisioner.services.api_networks import NetworkRoutes
from provisioner.services.api_params import ParamRoutes
from provisioner.services.operations import Operation
from provisioner.store.database import Database


class Api:
    """Puts the parts of the API together."""

    def __init__(
        self,
        ledger: Ledger,
        catalog: Catalog,
        machines: Machines,
        jobs: Jobs,
        actions: Actions,
        bulk: Bulk,
        operations: Operations,
        clashes: Clashes,
        registrations: Registrations,
        networks: Networks,
        database: Database,
        tokens: Tokens,
    ) -> None:
        self._access = Access(ledger, tokens)
        self._parts = (
            MachineRoutes(ledger, catalog, machines),
            MachineVerbs(ledger, catalog, machines, actions, bulk),
            BulkRoutes(ledger, catalog, bulk, operations),
            ClashRoutes(ledger, catalog, clashes, registrations),
            ParamRoutes(catalog, machines),
            JobRoutes(ledger, machines, jobs, database),
            EventRoutes(ledger, machines, database),
            NetworkRoutes(ledger, networks),
            # Last: its paths are the widest.
            ContentRoutes(catalog),
        )

    def login_operations(self) -> list[Operation]:
        """Where passwords are taken: never on the provisioning network."""
        return self._access.operations()

    def operations(self) -> list[Operation]:
        """Everything else."""
        return [operation for part in self._parts for operation in part.operations()]
