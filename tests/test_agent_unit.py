"""The agent's unit, which the shipped disk image has too."""

from pathlib import Path

from agent.config import INSTALLED_PATH
from agent.runner import STOP_LOG_SECONDS
from agent.script import GRACE_SECONDS
from agent.unit import AGENT_PATH, CONFIG_PATH, PATH, unit

IMAGE = Path(__file__).resolve().parent.parent / "images/debian-12/root"


def values(name: str) -> list[str]:
    return [line.partition("=")[2] for line in unit().splitlines() if line.startswith(f"{name}=")]


def test_the_disk_image_has_the_same_unit() -> None:
    assert (IMAGE / PATH.lstrip("/")).read_text() == unit()


def test_it_runs_the_agent_with_its_config() -> None:
    assert CONFIG_PATH == INSTALLED_PATH
    assert values("ExecStart") == [f"/usr/bin/python3 -I {AGENT_PATH} run --config {CONFIG_PATH}"]
    assert unit("/opt/python").count("/opt/python -I") == 1


def test_an_agent_that_ends_well_is_not_started_again() -> None:
    assert values("Restart") == ["on-failure"]


def test_a_script_for_which_there_is_no_memory_does_not_end_the_agent() -> None:
    # systemd would otherwise stop the whole unit, and the job would be resumed and end like that again and again.
    assert values("OOMPolicy") == ["continue"]
    discovery = IMAGE.parents[1] / "discovery/root/etc/systemd/system/provisioner-agent.service"
    assert "OOMPolicy=continue" in discovery.read_text().splitlines()


def test_the_agent_may_end_its_scripts_and_say_so_before_it_is_killed() -> None:
    assert values("KillMode") == ["mixed"]
    assert int(values("TimeoutStopSec")[0]) > GRACE_SECONDS + STOP_LOG_SECONDS
