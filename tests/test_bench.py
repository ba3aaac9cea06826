"""The benches' arithmetic and the form of their results; nothing is measured here."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.bench.boot import figures, phases
from tests.bench.figures import Figure, Floor, percentile, write
from tests.bench.jobs import compare
from tests.bench.tftp import LOADS, Result
from tests.bench.tftp import figures as tftp_figures

BEGUN = datetime(2026, 1, 1, 12, tzinfo=UTC)
MAC = "52:54:00:00:00:01"


def event(kind: str, after: float, mac: str = MAC, machine: str = "", key: str = "", **data: Any) -> dict[str, Any]:
    when = (BEGUN + timedelta(seconds=after)).isoformat()
    return {"kind": kind, "time": when, "mac": mac, "machine": machine, "key": key, "data": data}


@pytest.mark.parametrize(("percent", "value"), [(50, 50), (99, 99), (100, 100), (0, 1)])
def test_a_percentile_is_one_of_the_values(percent: float, value: float) -> None:
    assert percentile(range(100, 0, -1), percent) == value


@pytest.mark.parametrize(
    ("figure", "line"),
    [
        (Figure("rate", 1234.5, "jobs/s", "all at once"), "rate 1234 jobs/s (all at once)"),
        (Figure("claim", 0.012345, "ms"), "claim 0.0123 ms"),
        (Figure("cpu", 2.0, "s"), "cpu 2.00 s"),
        (Figure("none", 0, "s"), "none 0 s"),
    ],
)
def test_a_figure_is_one_line_with_three_digits(figure: Figure, line: str) -> None:
    assert figure.line() == line


def test_ratios_compare_a_job_with_its_round_trips_and_writes() -> None:
    # A job takes 10 ms; its four round trips 4 ms, its three commits and its log 3 + 3 ms.
    found = {figure.name: figure.value for figure in compare(100, Floor(1000, 1000, 1000 / 3))}
    ratios = [found[name] for name in ("times_http_floor", "times_disk_floor", "times_whole_floor")]
    assert ratios == pytest.approx([2.5, 10 / 6, 1.0])


def test_phases_are_the_first_events_of_this_machine_since_power_on() -> None:
    told = [
        event("dhcp.discover", -5),
        event("dhcp.discover", 1, mac="52:54:00:00:00:99"),
        event("dhcp.discover", 2),
        event("dhcp.discover", 3),
        event("tftp.read", 4.5, seconds=0.5),
        event("http.read", 6, key="/files/discovery/vmlinuz"),
        event("machine.complete", 7, mac="", machine="other"),
        event("agent.register", 8, machine="m1"),
        event("machine.complete", 9, mac="", machine="m1"),
    ]
    assert phases(told, MAC, BEGUN) == [
        ("dhcp_discover", 2),
        ("tftp", 4),
        ("kernel", 6),
        ("register", 8),
        ("discovered", 9),
    ]


def test_a_boot_figure_notes_the_step_from_the_phase_before() -> None:
    lines = [figure.line() for figure in figures("bios", [("tftp", 2.0), ("script", 3.5)])]
    assert lines == ["boot_bios_tftp 2.00 s (from power-on; +2.0 s)", "boot_bios_script 3.50 s (from power-on; +1.5 s)"]


def test_results_are_written_with_when_and_on_what(tmp_path: Path) -> None:
    write(tmp_path / "build" / "bench.json", [Figure("rate", 1.5, "jobs/s", "n")], BEGUN, {"cpus": 2})
    assert json.loads((tmp_path / "build" / "bench.json").read_text()) == {
        "figures": [{"name": "rate", "value": 1.5, "unit": "jobs/s", "note": "n"}],
        "when": "2026-01-01T12:00:00+00:00",
        "machine": {"cpus": 2},
    }


def test_tftp_is_compared_by_the_medians_of_all_rounds() -> None:
    ours = [Result(100, 2, 0, 0), Result(300, 3, 0, 1), Result(200, 1, 0, 0)]
    theirs = [Result(50, 8, 1, 2), Result(10, 8, 0, 0), Result(40, 8, 0, 0)]
    found = tftp_figures(LOADS[0], {"provisioner": ours, "atftpd": theirs})
    assert [(figure.name, figure.value) for figure in found] == [
        ("tftp_window16_provisioner", 200), ("tftp_window16_atftpd", 40), ("tftp_window16_times_atftpd", 5),
    ]  # fmt: skip
    assert "8.00 ms of CPU a MB; 1 failed, 2 repeats" in found[1].note
