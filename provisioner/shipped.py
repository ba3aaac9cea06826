"""Where the files shipped with the product are: beside this module when installed, else in the checkout."""

from pathlib import Path

from provisioner.errors import NotFound, unknown

TREES = ("content", "bootenvs", "templates")

_HERE = Path(__file__).resolve().parent


def tree(name: str, package: Path = _HERE) -> Path:
    """The folder `content`, `bootenvs` or `templates`; setup.cfg maps each into the wheel as `shipped_files/NAME`.

    Raises NotFound when the name is none of these, or the installation has lost the folder.
    """
    if name not in TREES:
        raise NotFound(unknown("shipped folder", name, TREES), object=name)
    places = (package / "shipped_files" / name, package.parent / name)
    for place in places:
        if place.is_dir():
            return place
    looked = " and ".join(str(place) for place in places)
    raise NotFound(f"the shipped folder {name!r} is missing; looked for {looked}: install again", object=name)
