"""Where shipped files are found."""

from pathlib import Path

import pytest

from provisioner.errors import NotFound
from provisioner.shipped import TREES, tree


@pytest.mark.parametrize("name", TREES)
def test_a_checkout_has_every_tree(name: str) -> None:
    assert tree(name).name == name
    assert any(tree(name).rglob("*"))


def test_the_folder_beside_the_module_comes_first(tmp_path: Path) -> None:
    installed = tmp_path / "provisioner" / "shipped_files" / "content"
    installed.mkdir(parents=True)
    (tmp_path / "content").mkdir()
    assert tree("content", tmp_path / "provisioner") == installed


def test_without_it_the_folder_beside_the_package_is_taken(tmp_path: Path) -> None:
    (tmp_path / "content").mkdir()
    assert tree("content", tmp_path / "provisioner") == tmp_path / "content"


def test_a_lost_folder_is_told_with_the_places_looked_at(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="is missing; looked for .*shipped_files/content and "):
        tree("content", tmp_path / "provisioner")


def test_an_unknown_name_is_told_with_the_choices() -> None:
    with pytest.raises(NotFound, match="there is: bootenvs, content, templates"):
        tree("secrets")
