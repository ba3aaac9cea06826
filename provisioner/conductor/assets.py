"""Files that jobs hand in: who may, until when, under which names."""

from __future__ import annotations

from collections.abc import AsyncIterable
from datetime import datetime, timedelta

from provisioner.access import Principal
from provisioner.conductor.ledger import Ledger
from provisioner.errors import FieldError, Invalid, NotFound, Refused
from provisioner.model.machines import Job
from provisioner.store.assets import NAME, Asset, Assets

# An agent may deliver what a job handed in after the job was cancelled or given up, when the server was away.
GRACE = timedelta(minutes=10)


class JobAssets:
    """Takes files in."""

    def __init__(self, ledger: Ledger, assets: Assets) -> None:
        self._ledger = ledger
        self._assets = assets

    async def receive(self, job_id: str, name: str, length: int, pieces: AsyncIterable[bytes], by: Principal) -> Asset:
        """Take a file in piece by piece; it is there, whole and durable, when this returns, or not at all.

        `length` is how many bytes were announced, 0 when that is not known.
        """
        check_name(name)
        job = self._open(job_id)
        async with self._assets.upload(job.id, name, length) as upload:
            async for piece in pieces:
                await upload.write(piece)
            asset = await upload.finish(self._ledger.clock())
        if self._ledger.get(Job, job.id) is None:
            await self._assets.run(lambda: self._assets.remove(job.id))
            raise _no(job_id)
        tx = self._ledger.transaction(by=str(by))
        tx.event("job.asset", machine=job.machine, key=job.id, task=job.task, name=name, size=asset.size)
        await tx.commit()
        return asset

    def _open(self, job_id: str) -> Job:
        job = self._ledger.get(Job, job_id)
        if job is None:
            raise _no(job_id)
        if not takes_assets(job, self._ledger.clock()):
            raise Refused(f"job {job.id} has ended: it takes no more files", object=job.id, code="job-state")
        return job


def takes_assets(job: Job, now: datetime) -> bool:
    """Whether files may still be handed in: while it has not ended, and a little later for those under way."""
    return not job.final or (job.ended_at is not None and now <= job.ended_at + GRACE)


def check_name(name: str) -> None:
    """Raise Invalid for what is no name of an asset."""
    if not NAME.fullmatch(name):
        message = f"{name[:200]!r} is no name of a file: 1 to 128 letters, digits and . _ -, not beginning with a dot"
        raise Invalid(message, fields=(FieldError("name", message),))


def _no(job_id: str) -> NotFound:
    return NotFound(f"there is no job {job_id!r}", object=job_id)
