"""What every codec of this folder raises for bytes that are not what they should be."""

from provisioner.errors import Invalid


class WireError(Invalid):
    """A packet cannot be read or built. `reason` is one of few fixed texts, so that drops are counted by it."""

    code = "packet-malformed"

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
