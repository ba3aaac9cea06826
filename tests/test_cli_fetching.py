"""Answers that become files: whole, or not there at all."""

from types import SimpleNamespace

import pytest

from provisioner.cli.exits import Failure
from provisioner.cli.fetching import to_file


class Halved:
    """A client whose connection breaks after the first piece."""

    def copy(self, path, to, query=None):
        to.write(b"half")
        raise ConnectionError


def test_a_file_that_is_not_whole_is_not_left_behind(tmp_path):
    name = tmp_path / "capture.pcapng"
    with pytest.raises(Failure, match="cannot write"):
        to_file(SimpleNamespace(), Halved(), "/x", str(name))
    assert list(tmp_path.iterdir()) == []
