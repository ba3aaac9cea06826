"""Tar archives as other programs read them, also of files that change while they are read."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
from datetime import UTC, datetime

import pytest

from provisioner.store.tar_stream import END, PIECE_BYTES, data_member, file_member, safe

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def read(archive):
    with tarfile.open(fileobj=io.BytesIO(archive + END)) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}


def member(path, **options):
    with path.open("rb") as file:
        return b"".join(file_member("x", file, **options))


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, PIECE_BYTES, PIECE_BYTES + 1])
def test_what_is_put_in_comes_out(tmp_path, size):
    data = os.urandom(size)
    (tmp_path / "x").write_bytes(data)
    assert read(data_member("a/b", data, NOW) + member(tmp_path / "x")) == {"a/b": data, "x": data}


def test_an_archive_is_made_of_whole_records(tmp_path):
    assert len(data_member("a", b"abc", NOW)) % 512 == 0
    assert len(END) == 10240


@pytest.mark.parametrize("name", ["x" * 99, "y" * 100 + "/" + "z" * 200, "ümlaut"])
def test_long_names_and_any_letters_are_kept(name):
    assert list(read(data_member(name, b"", NOW))) == [name]


def test_the_same_things_make_the_same_archive(tmp_path):
    assert data_member("a", b"abc", NOW) == data_member("a", b"abc", NOW)
    (tmp_path / "x").write_bytes(b"abc")
    assert member(tmp_path / "x", modified=NOW) == member(tmp_path / "x", modified=NOW)


def test_a_file_has_its_own_time(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    os.utime(tmp_path / "x", (1000, 1000))
    with tarfile.open(fileobj=io.BytesIO(member(tmp_path / "x") + END)) as tar:
        assert [each.mtime for each in tar] == [1000]


def test_a_file_that_grows_ends_where_it_ended_at_its_header(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"a" * 1000)
    with path.open("rb") as file:
        pieces = file_member("x", file)
        archive = next(pieces)
        with path.open("ab") as more:
            more.write(b"b" * 1000)
        archive += b"".join(pieces)
    assert read(archive) == {"x": b"a" * 1000}


def test_a_file_that_became_shorter_is_filled_up(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"a" * 1000)
    with path.open("rb") as file:
        pieces = file_member("x", file)
        archive = next(pieces)
        os.truncate(path, 400)
        archive += b"".join(pieces) + data_member("y", b"whole", NOW)
    assert read(archive) == {"x": b"a" * 400 + bytes(600), "y": b"whole"}


@pytest.mark.parametrize(
    ("name", "is_safe"),
    [
        ("install", "install"),
        ("stage:a/b c", "stage-a-b-c"),
        ("../../etc", "-..-etc"),
        ("..", "-"),
        ("", "-"),
        ("é", "-"),
    ],
)
def test_names_become_one_harmless_part_of_a_path(name, is_safe):
    assert safe(name) == is_safe


@pytest.mark.peer
@pytest.mark.skipif(shutil.which("tar") is None, reason="tar is not installed")
def test_tar_unpacks_it(tmp_path):
    (tmp_path / "a.tar").write_bytes(data_member("jobs/1/log.txt", b"hello\n", NOW) + END)
    subprocess.run(["tar", "-xf", "a.tar"], cwd=tmp_path, check=True)
    assert (tmp_path / "jobs/1/log.txt").read_text() == "hello\n"
