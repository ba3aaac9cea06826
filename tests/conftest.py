"""How the tests share the cores (pytest-xdist): a file stays whole on one worker, and whatever needs the rack or a
browser keeps to one worker as well, so that there is never more than one rack."""

from __future__ import annotations

import pytest


# xdist reads the groups in the same hook.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Group the tests; the rack's come first, since they take longest and others fill the cores beside them."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_group(item)))
    items.sort(key=lambda item: item.get_closest_marker("rack") is None)


def _group(item: pytest.Item) -> str:
    shared = (name for name in ("rack", "browser") if item.get_closest_marker(name))
    return next(shared, str(item.path))
