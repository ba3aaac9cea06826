"""Which of the files that boot environments need are there to be served."""

from __future__ import annotations

from pathlib import Path

from provisioner.model.content import Bootenv


class BootFiles:
    """The static root that is served as `/files/`."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def missing(self, bootenv: Bootenv) -> tuple[str, ...]:
        """A reason for each kernel and initrd of the boot environment that is not there."""
        return tuple(
            f"arch.{arch}.{field}: there is no file {name!r} below {self._root}"
            for arch, boot in bootenv.arch.items()
            for field, name in (
                ("kernel", boot.kernel),
                *((f"initrds[{place}]", each) for place, each in enumerate(boot.initrds)),
            )
            if not self.has(name)
        )

    def has(self, name: str) -> bool:
        """Whether there is a file of this name."""
        try:
            return (self._root / name).is_file()
        except (OSError, ValueError):  # a name longer than a file system can have, or with a NUL in it
            return False
