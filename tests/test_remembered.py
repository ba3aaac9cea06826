"""What a function has said is not asked again, until it is too much."""

from __future__ import annotations

import pytest

from provisioner.remembered import Remembered


def test_it_is_asked_once():
    asked = []
    doubled = Remembered(lambda value: asked.append(value) or 2 * value, 10)
    assert [doubled.of(value) for value in (1, 0, 1, 0)] == [2, 0, 2, 0]
    assert asked == [1, 0]


def test_no_more_than_so_many_are_kept():
    asked = []
    same = Remembered(lambda value: asked.append(value) or value, 2)
    assert [same.of(value) for value in (1, 2, 3, 3, 1)] == [1, 2, 3, 3, 1]
    assert asked == [1, 2, 3, 1]


def test_what_it_raises_is_raised_each_time():
    numbers = Remembered(int, 10)
    for _ in range(2):
        with pytest.raises(ValueError, match="'x'"):
            numbers.of("x")
