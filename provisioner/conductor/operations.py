"""Long actions that go on after their request was answered: kept on disk, followed by their id, ended by a restart."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from uuid import uuid4

import structlog
from msgspec.structs import replace

from provisioner.access import Principal
from provisioner.conductor.finding import decided
from provisioner.conductor.ledger import Ledger
from provisioner.conductor.saving import Wait, until_saved
from provisioner.errors import NotFound, StoreError
from provisioner.model.machines import Machine
from provisioner.model.operations import ItemResult, Operation, OperationState

log = structlog.get_logger(__name__)

# Does the action for the machine of this id; errors are results, too.
Work = Callable[[str], Awaitable[ItemResult]]
_CUT_OFF = "the server was restarted while this was under way; what has no result may or may not have been done"
# Enough that a dead BMC or two do not hold up a rack, few enough that its network is not flooded.
AT_ONCE = 32
# An operation is written again after each so many of its results, so that thousands do not cost their square.
_PIECES = 50


class Operations:
    """Begins, carries out and finds operations."""

    def __init__(self, ledger: Ledger, wait: Wait = asyncio.sleep) -> None:
        self._ledger = ledger
        self._wait = wait
        self._waiting: asyncio.Queue[tuple[str, Sequence[str], Work]] = asyncio.Queue()
        self._places = asyncio.Semaphore(AT_ONCE)

    def find(self, operation: str) -> Operation:
        """An operation as it is on disk; raises NotFound."""
        found = self._ledger.read(Operation, operation)
        if found is None:
            raise NotFound(f"there is no operation {operation!r}", object=operation)
        return found

    async def begin(self, action: str, machines: Sequence[str], work: Work, by: Principal) -> Operation:
        """Save that the action begins on these machines (ids) and let `run` carry it out."""
        tx = self._ledger.transaction(by=str(by))
        operation = Operation(
            id=str(uuid4()),
            action=action,
            machines=tuple(machines),
            total=len(machines),
            started_by=str(by),
            started_at=tx.now,
        )
        tx.put(operation)
        tx.event("operation.start", key=operation.id, action=action, total=len(machines))
        await tx.commit()
        self._waiting.put_nowait((operation.id, machines, work))
        return operation

    async def end_left_over(self) -> int:
        """At the start: operations that were under way when the server stopped have failed. Returns how many."""
        tx = self._ledger.transaction(by="server")
        left = [each for each in self._ledger.all(Operation) if not each.final]
        for operation in left:
            tx.put(replace(operation, state=OperationState.FAILED, error=_CUT_OFF, ended_at=tx.now))
            tx.event("operation.end", key=operation.id, action=operation.action, state="failed", message=_CUT_OFF)
        await tx.commit()
        return len(left)

    async def run(self) -> None:
        """Carry out operations as they come, for as long as the server runs."""
        async with asyncio.TaskGroup() as group:
            while True:
                operation, machines, work = await self._waiting.get()
                group.create_task(self._carry_out(operation, machines, work))

    async def _carry_out(self, operation: str, machines: Sequence[str], work: Work) -> None:
        results: list[ItemResult] = []
        piece = max(1, len(machines) // _PIECES)
        begun = iter(machines)

        async def worker() -> None:
            for machine in begun:
                async with self._places:
                    results.append(await self._one(machine, work))
                if len(results) % piece == 0 and len(results) < len(machines):
                    await self._save(operation, results)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(AT_ONCE, len(machines))):
                group.create_task(worker())
        await until_saved(lambda: self._end(operation, results), self._wait)

    async def _one(self, machine: str, work: Work) -> ItemResult:
        try:
            return await work(machine)
        except Exception:
            # One machine's fault is its own result; the others go on.
            log.exception("operation.broken", machine=machine)
            known = self._ledger.get(Machine, machine)
            message = "the server is at fault; its log has the details"
            return ItemResult(machine, known.name if known else "", 500, "error", message)

    async def _save(self, operation_id: str, results: Sequence[ItemResult]) -> None:
        tx = self._ledger.transaction(by="server")
        tx.put(replace(decided(self._ledger, Operation, operation_id), results=tuple(results)))
        try:
            await tx.commit()
        except StoreError as error:
            # It comes with the next piece, or with the end.
            log.error("operation.unsaved", operation=operation_id, error=error.message)

    async def _end(self, operation_id: str, results: Sequence[ItemResult]) -> None:
        operation = decided(self._ledger, Operation, operation_id)
        failed = sum(result.status >= 400 for result in results)
        state = OperationState.FAILED if failed else OperationState.FINISHED
        error = f"failed for {failed} of {len(results)} machines" if failed else ""
        tx = self._ledger.transaction(by=operation.started_by)
        tx.put(replace(operation, state=state, error=error, results=tuple(results), ended_at=tx.now))
        tx.event(
            "operation.end", key=operation.id, action=operation.action, state=state.value, failed=failed, message=error
        )
        await tx.commit()
