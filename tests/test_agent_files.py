"""Files by their contents."""

from hashlib import sha256
from pathlib import Path

import pytest

from agent.errors import FileTrouble
from agent.files import sha256_of


def test_the_whole_file(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    assert sha256_of(str(tmp_path / "f")) == (3, sha256(b"abc").hexdigest())


def test_its_beginning(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    assert sha256_of(str(tmp_path / "f"), 2) == (2, sha256(b"ab").hexdigest())


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileTrouble, match=r"cannot read .*/f: No such file"):
        sha256_of(str(tmp_path / "f"))
