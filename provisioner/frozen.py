"""The base of structs that never change, in modules that are compiled (pyproject.toml lists them) as in others.

The compiler passes over the keywords of a class; what a struct inherits it keeps.
"""

from msgspec import Struct


class Frozen(Struct, frozen=True, gc=False):
    """A struct whose fields cannot be set; write `frozen=True` all the same, for those who check types.

    Values hold no circle that leads back to them, so the collector of garbage need not know them.
    """
