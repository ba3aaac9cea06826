"""What happens between switching on and the system's first word, as sentences: addresses, files, scripts."""

from __future__ import annotations

from collections.abc import Callable

from provisioner.events import KINDS, Event
from provisioner.services.ui_event_data import bracketed, number, text
from provisioner.services.ui_words import duration, size


def _unanswered(event: Event) -> str:
    """Why the server kept silent, in words to put behind the sentence."""
    reason = text(event, "ignored")
    detail = text(event, "detail")
    return f"; not answered: {reason}{f', {detail}' if detail else ''}" if reason else ""


def _discover(event: Event) -> str:
    return bracketed("asked for an address", text(event, "firmware"), text(event, "hostname")) + _unanswered(event)


def _offer(event: Event) -> str:
    file = text(event, "boot_file")
    who = (text(event, "firmware"), text(event, "hostname"))
    return bracketed(f"was offered {event.key or 'an address'}", *who, f"boot file {file}" if file else "")


def _proxy(event: Event) -> str:
    if not event.key:
        return bracketed("asked what to boot beside another DHCP server and was told nothing", text(event, "boot"))
    return f"was told beside another DHCP server to load {event.key}"


def _loader(event: Event) -> str:
    failed, times = text(event, "failed"), text(event, "times")
    how_often = "and was refused at once" if times == "1" else f"{times} times and never came up"
    return f"is given the boot loader {event.key} from now on: {failed} was loaded {how_often}"


def _ack(event: Event) -> str:
    seconds = number(event.data.get("lease_seconds"))
    lease = f"for {duration(seconds)}" if seconds else ""
    file = text(event, "boot_file")
    if event.data.get("request") == "INFORM":
        return bracketed("asked for options only and was told them", f"boot file {file}" if file else "")
    return bracketed(f"was given {event.key or 'an address'}", lease, f"boot file {file}" if file else "")


def _request(event: Event) -> str:
    return f"asked to use {event.key or 'an address'}" + _unanswered(event)


def _refused(event: Event) -> str:
    reason = ", ".join(filter(None, (text(event, "reason"), text(event, "detail"))))
    words = f"was refused {event.key or 'an address'}"
    return f"{words}: {reason}" if reason else words


def _advertise6(event: Event) -> str:
    return _offer(event) if event.data.get("lease_seconds") else _refused(event)


def _silent6(event: Event) -> str:
    return KINDS[event.kind] + _unanswered(event)


def _reply6(event: Event) -> str:
    asked = event.data.get("request")
    if asked == "INFORMATION_REQUEST":
        return "was told options without an address"
    if asked == "CONFIRM" and not event.data.get("reason"):
        return f"has the right address here: {event.key}"
    return _ack(event) if event.data.get("lease_seconds") else _refused(event)


def _fetched(protocol: str) -> Callable[[Event], str]:
    def write(event: Event) -> str:
        if event.data.get("size_only"):
            return f"asked for the size of {event.key} by {protocol}"
        count, seconds = number(event.data.get("bytes")), number(event.data.get("seconds"))
        took = f"{size(count)} in {duration(seconds)}" if seconds is not None else size(count)
        return bracketed(f"fetched {event.key or 'a file'} by {protocol}", took)

    return write


def _not_fetched(protocol: str) -> Callable[[Event], str]:
    def write(event: Event) -> str:
        return f"could not fetch {event.key or 'a file'} by {protocol}: {text(event, 'message') or 'no reason known'}"

    return write


def _script(event: Event) -> str:
    protocol = text(event, "protocol").upper()
    return bracketed(f"was told to boot {event.key}", f"script by {protocol}" if protocol else "")


def _no_script(event: Event) -> str:
    return f"could not be told to boot {event.key}: {text(event, 'message')}"


SENTENCES: dict[str, Callable[[Event], str]] = {
    "dhcp.discover": _discover,
    "dhcp.offer": _offer,
    "dhcp6.advertise": _advertise6,
    "dhcp6.reply": _reply6,
    **{f"dhcp6.{kind}": _silent6 for kind in ("solicit", "request", "confirm", "renew", "rebind")},
    "dhcp.request": _request,
    "dhcp.ack": _ack,
    "dhcp.nak": _refused,
    "tftp.read": _fetched("TFTP"),
    "tftp.error": _not_fetched("TFTP"),
    "http.read": _fetched("HTTP"),
    "http.error": _not_fetched("HTTP"),
    "boot.render": _script,
    "boot.local": lambda event: "was told to boot its own disk",
    "boot.wait": lambda event: f"waits for its turn to download: place {text(event, 'place')}",
    "boot.error": _no_script,
    "dhcp.proxy": _proxy,
    "boot.loader": _loader,
}
