"""The whole server without sockets: its parts belong together, and each side meets only what is meant for it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from provisioner.assembly import Applications, Parts, put_together
from provisioner.config import read_config
from provisioner.errors import SettingError
from provisioner.packs import load_shipped
from provisioner.power.registry import PowerDrivers
from provisioner.store.database import Database
from tests.fakes.power import FakePower


def assembled(folder: Path, **settings: str) -> Parts:
    database = Database(folder / "provisioner.db")
    database.open()
    config = read_config({"data_dir": str(folder), **settings}, {})
    try:
        return put_together(
            config, database, load_shipped(), PowerDrivers({}, {"ipmi": FakePower()}), lambda: datetime.now(UTC)
        )
    except BaseException:
        database.discard()
        raise


def close(parts: Parts) -> None:
    parts.logs.close()
    parts.assets.close()
    parts.archive.close()
    parts.tokens.close()
    parts.database.discard()


def test_shipped_content_is_in_force(tmp_path: Path) -> None:
    parts = assembled(tmp_path)
    assert {"discover", "deploy"} <= set(parts.catalog.view["workflows"])
    close(parts)


@pytest.mark.parametrize("setting", ["boot.unknown_bootenv", "machines.default_workflow"])
def test_a_setting_that_names_nothing_is_refused_with_the_choices(tmp_path: Path, setting: str) -> None:
    with pytest.raises(SettingError, match=f"setting {setting}: unknown .* 'nonsense'; there is: "):
        assembled(tmp_path, **{setting: "nonsense"})


def test_passwords_and_pages_are_for_people_only_and_the_join_script_for_machines_only(tmp_path: Path) -> None:
    parts = assembled(tmp_path)
    made = Applications(parts, b"agent", "1.0", lambda: ("10.0.0.1", 8091))

    def paths(app: object) -> set[str]:
        return {route.resource.canonical for route in app.router.routes() if route.resource}  # type: ignore[attr-defined]

    machines, people = paths(made.facing_machines([])), paths(made.facing_people())
    assert "/api/v1/login" in people - machines
    assert "/machines/{machine}" in people - machines
    assert "/join.sh" in machines - people
    assert {"/api/v1/jobs", "/api/v1/machines/{machine}/hello"} <= machines & people
    close(parts)
