"""A reason to stop, once given."""

import os

from agent.interrupt import CANCELLED, STOPPED, Interrupt, readable


def test_it_is_readable_once_given() -> None:
    interrupt = Interrupt()
    assert readable([interrupt.fileno()], 0) == []
    interrupt.give(STOPPED, "SIGTERM")
    assert readable([interrupt.fileno()], None) == [interrupt.fileno()]
    assert readable([interrupt.fileno()], 0) == [interrupt.fileno()]


def test_the_first_reason_stays() -> None:
    interrupt = Interrupt()
    interrupt.give(CANCELLED, "by a person")
    interrupt.give(STOPPED, "SIGTERM")
    assert (interrupt.reason, interrupt.detail) == (CANCELLED, "by a person")


def test_given_after_it_was_closed_it_does_no_harm() -> None:
    interrupt = Interrupt()
    interrupt.close()
    interrupt.give(STOPPED, "late")
    assert interrupt.reason == STOPPED


def test_closing_frees_its_descriptors() -> None:
    before = len(os.listdir("/proc/self/fd"))
    Interrupt().close()
    assert len(os.listdir("/proc/self/fd")) == before
