"""What has happened is saved late rather than never."""

import pytest

from provisioner.conductor.saving import AGAIN_SECONDS, until_saved
from provisioner.errors import DiskFull, NotFound, StoreError


async def test_what_a_failing_disk_refuses_is_saved_once_it_works_again():
    faults, waited = [StoreError("broken"), DiskFull("full")], []

    async def save():
        if faults:
            raise faults.pop()

    async def wait(seconds):
        waited.append(seconds)

    await until_saved(save, wait)
    assert faults == [] and waited == [AGAIN_SECONDS] * 2


async def test_what_cannot_be_saved_for_another_reason_is_not_tried_again():
    async def save():
        raise NotFound("it is gone")

    with pytest.raises(NotFound):
        await until_saved(save)
