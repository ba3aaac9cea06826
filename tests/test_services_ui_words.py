"""Numbers and times as people read them."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from provisioner.services.ui_words import ago, clock, count, duration, exact, memory, size

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (-2, "0.0 s"),
        (0, "0.0 s"),
        (0.44, "0.4 s"),
        (0.95, "1 s"),
        (12.4, "12 s"),
        (59.7, "1 min"),
        (200, "3 min 20 s"),
        (3605, "1 h"),
        (7500, "2 h 05 min"),
        (86_400, "1 d"),
        (3 * 86_400 + 4 * 3600 + 59, "3 d 4 h"),
    ],
)
def test_a_duration_has_at_most_two_units(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "just now"),
        (-2, "just now"),
        (2.9, "just now"),
        (12, "12 s ago"),
        (119, "1 min ago"),
        (7200, "2 h ago"),
        (200_000, "2 d ago"),
        (-250, "in 4 min"),
    ],
)
def test_an_age_has_one_unit_and_a_direction(seconds, text):
    assert ago(NOW - timedelta(seconds=seconds), NOW) == text


def test_a_moment_is_shown_in_utc_whatever_its_zone():
    moment = datetime(2026, 3, 1, 14, 30, 5, 123456, tzinfo=timezone(timedelta(hours=2)))
    assert exact(moment) == "2026-03-01 12:30:05 UTC"
    assert clock(moment) == "12:30:05.123"


@pytest.mark.parametrize(
    ("bytes_", "text"),
    [
        (None, ""),
        (0, "0 B"),
        (999, "999 B"),
        (999.97, "1 kB"),
        (8_134_592, "8.1 MB"),
        (500_107_862_016, "500 GB"),
        (12_000_138_625_024, "12 TB"),
        (5e21, "5000000 PB"),
    ],
)
def test_disks_and_traffic_are_counted_in_decimal_units(bytes_, text):
    assert size(bytes_) == text


def test_memory_is_counted_in_binary_units():
    assert memory(34_359_738_368) == "32 GiB"
    assert memory(25_276_514_304) == "23.5 GiB"


def test_a_number_agrees_with_its_noun():
    assert [count(number, "event") for number in (0, 1, 1204)] == ["0 events", "1 event", "1,204 events"]
