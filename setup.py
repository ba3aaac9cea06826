"""Tells that the wheel is for one platform and Python once modules were compiled; setup.cfg has the rest."""

from pathlib import Path

from setuptools import Distribution, setup


class Compiled(Distribution):
    """A distribution that has machine code in it, or not."""

    def has_ext_modules(self) -> bool:
        return Path(__file__).with_name("provisioner").joinpath("built", "manifest.json").is_file()


setup(distclass=Compiled)
