"""The checks that routes begin with."""

from provisioner.conductor.machine_changes import NewMachine
from provisioner.model.access import TokenPurpose
from tests.parts import OPERATOR, serving

API = "/api/v1"


async def test_a_machine_reads_itself_and_no_list(parts):
    machine = await parts.ready()
    async with serving(parts.agents_app(), await parts.secret(TokenPurpose.MACHINE, machine)) as client:
        assert (await client.get(f"{API}/machines/{machine}")).status == 200
        assert (await client.get(f"{API}/machines")).status == 403
        assert (await client.delete(f"{API}/machines/{machine}")).status == 403


async def test_a_job_is_read_by_its_machine_and_by_no_other(parts):
    machine = await parts.ready(stage="redo", force=True)
    job = await parts.begin(machine)
    other = await parts.machines.create(NewMachine(name="other"), OPERATOR)
    for subject, status in ((machine, 200), (other.id, 403)):
        async with serving(parts.agents_app(), await parts.secret(TokenPurpose.MACHINE, subject)) as client:
            assert (await client.get(f"{API}/jobs/{job.id}")).status == status
