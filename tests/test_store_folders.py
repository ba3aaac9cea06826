"""Folders are made as deep as needed; the system's errors become ours."""

from __future__ import annotations

import errno
import os

import pytest

from provisioner.errors import DiskFull, StoreError
from provisioner.store.folders import failed, make_folder, sync_folder


def test_a_folder_is_made_with_those_above_it_and_making_it_again_is_harmless(tmp_path):
    make_folder(tmp_path / "a" / "b" / "c")
    make_folder(tmp_path / "a" / "b" / "c")
    assert (tmp_path / "a" / "b" / "c").is_dir()


def test_a_folder_that_a_file_stands_in_the_way_of_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        make_folder(tmp_path / "file" / "a")


def test_a_folder_that_is_not_there_cannot_be_synced(tmp_path):
    with pytest.raises(FileNotFoundError):
        sync_folder(tmp_path / "a")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_no_room_is_told_with_what_to_do(number):
    error = failed("write the log x", OSError(number, os.strerror(number)), "job-1")
    assert isinstance(error, DiskFull)
    assert (error.status, error.code, error.object) == (503, "disk-full", "job-1")
    assert "cannot write the log x: " in error.message
    assert "make room on the disk" in error.message


def test_any_other_error_says_what_the_system_said():
    error = failed("write the log x", OSError(errno.EIO, "Input/output error"))
    assert type(error) is StoreError
    assert error.message == "cannot write the log x: Input/output error"
