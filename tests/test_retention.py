"""Which jobs go: by age, by number, and never one that something can still come of."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.model.machines import FINAL_STATES, Job, JobState
from provisioner.retention import Limits, outlived, removable

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def job(id, *, days=0, machine="m1", state=JobState.FINISHED, ended=True):
    at = NOW - timedelta(days=days)
    return Job(id=id, machine=machine, task="t", state=state, created_at=at, ended_at=at if ended else None)


def gone(jobs, current=(), **limits):
    return [each.id for each in outlived(jobs, current, NOW, Limits(**limits))]


def test_without_limits_nothing_goes():
    assert gone([job("a", days=9999)]) == []


def test_a_job_goes_when_it_ended_so_many_days_ago():
    assert gone([job("a", days=11), job("b", days=10), job("c", days=9)], keep_days=10) == ["a", "b"]


def test_a_job_that_has_no_end_is_as_old_as_its_beginning():
    assert gone([job("a", days=11, ended=False)], keep_days=10) == ["a"]


def test_no_days_and_none_of_each_machine_are_limits_too():
    assert gone([job("a")], keep_days=0) == ["a"]
    assert gone([job("a")], keep_per_machine=0) == ["a"]


def test_the_newest_jobs_of_each_machine_stay():
    jobs = [job("a"), job("b", machine="m2"), job("c"), job("d"), job("e", machine="m2")]
    assert gone(jobs, keep_per_machine=1) == ["a", "b", "c"]
    assert gone(jobs, keep_per_machine=2) == ["a"]


def test_a_job_goes_that_is_beyond_either_limit():
    jobs = [job("a", days=20), job("b", days=2), job("c", days=1)]
    assert gone(jobs, keep_days=10, keep_per_machine=1) == ["a", "b"]


@pytest.mark.parametrize("state", sorted(set(JobState) - FINAL_STATES))
def test_a_job_that_is_not_final_stays(state):
    assert gone([job("a", days=99, state=state), job("b")], keep_days=1, keep_per_machine=1) == []


@pytest.mark.parametrize("state", sorted(FINAL_STATES))
def test_a_final_job_goes(state):
    assert gone([job("a", days=99, state=state)], keep_days=1) == ["a"]


def test_the_job_that_a_machine_stands_at_stays():
    assert gone([job("a", days=99), job("b", days=98)], {"b"}, keep_days=1) == ["a"]
    assert not removable(job("b"), {"b"})


def test_jobs_that_have_to_stay_count_among_the_newest():
    jobs = [job("a"), job("b"), job("c", state=JobState.INCOMPLETE)]
    assert gone(jobs, keep_per_machine=2) == ["a"]


jobs_of_any_kind = st.lists(
    st.builds(
        lambda days, machine, state: (days, machine, state),
        st.integers(0, 100),
        st.sampled_from(["m1", "m2"]),
        st.sampled_from(list(JobState)),
    ),
    max_size=30,
).map(lambda rows: [job(str(n), days=d, machine=m, state=s) for n, (d, m, s) in enumerate(sorted(rows, reverse=True))])


@given(jobs=jobs_of_any_kind, days=st.integers(0, 100), count=st.integers(0, 10), current=st.sets(st.integers(0, 30)))
def test_what_goes_is_final_not_current_and_asking_again_finds_nothing_more(jobs, days, count, current):
    names = {str(number) for number in current}
    limits = Limits(days, count)
    going = outlived(jobs, names, NOW, limits)
    assert all(each.final and each.id not in names for each in going)
    kept = [each for each in jobs if each not in going]
    assert outlived(kept, names, NOW, limits) == []
