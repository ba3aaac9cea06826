"""How the tests share the cores (pytest-xdist): a file stays whole on one worker, and so do all that need the rack, or
a browser, so that there is never more than one of these."""

from __future__ import annotations

import gc
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from tests.parts import Parts, opened

# In this order. The first needs no image; they are built meanwhile.
RACK_FILES = (
    "test_rack.py",
    "test_built_images.py",
    "test_main_job.py",
    "test_boot_matrix.py",
    "test_kexec.py",
    "test_boot_arm64.py",
)
# Long ones that need no rack; those that wait for others most of the time go well beside it.
LONG_FILES = (
    "test_crash.py",
    "test_tftp_peers.py",
    "test_dhcp_clients.py",
    "test_dhcp6_peers.py",
    "test_dhcp_peers.py",
    "test_fuzz_datagrams.py",
)


class Sharing(LoadScopeScheduling):
    """Hands out files, and the files of the rack or of the browser as if they were one."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        if file.endswith(RACK_FILES):
            return "rack"
        return "browser" if "/browser/" in file else file


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One more than there are cores: some tests wait for firmware or for the timers of others most of the time."""
    return (os.cpu_count() or 1) + 1


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Sharing:
    """Make the scheduler of a run with several workers."""
    return Sharing(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The rack's come first, since they take longest, then other long ones; short ones fill the cores at the end."""
    strays = {item.path.name for item in items if item.get_closest_marker("rack")} - set(RACK_FILES)
    if strays:
        raise pytest.UsageError(f"add to RACK_FILES in tests/conftest.py: {', '.join(sorted(strays))}")
    first = (*RACK_FILES, *LONG_FILES)
    items.sort(key=lambda item: first.index(item.path.name) if item.path.name in first else len(first))


def pytest_collection_finish() -> None:
    """Ten thousand tests and what they import stay to the end: the collector need not look through them each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture
async def parts(tmp_path: Path) -> AsyncIterator[Parts]:
    """The conductor's parts with a store of their own."""
    async with opened(tmp_path) as parts:
        yield parts
