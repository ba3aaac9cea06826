"""Fetch the agent from the server that the kernel command line names, and become it.

The image holds no agent, so that it need not be rebuilt when the agent changes. Every wait is for ever, with a message
now and then that says what is missing; only a command line without a server ends it, with EX_CONFIG.
"""

import os
import random
import socket
import sys
import time
from http.client import HTTPException
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

AGENT = Path("/run/provisioner/agent.pyz")
NETWORKD_STATE = Path("/run/systemd/netif/state")
RESOLVER = Path("/etc/resolv.conf")
ROUTE_POLL_SECONDS = 0.2
MESSAGE_EVERY_SECONDS = 10
HTTP_TIMEOUT_SECONDS = 10
LONGEST_PAUSE_SECONDS = 10
# Controllers with many disks take their time; the agent's inventory should find them all.
SETTLE_SECONDS = 60
# APPNOTE.TXT 4.3.16: the record that ends every ZIP file. A zipapp without it was cut short.
ZIP_END = b"PK\x05\x06"


def say(message):
    """Print a line at once; the journal and the console get it."""
    print(f"provisioner: {message}", flush=True)


def server_url(command_line):
    """The value of provisioner.url, without a trailing slash; "" when there is none."""
    for word in command_line.split():
        if word.startswith("provisioner.url="):
            return word.partition("=")[2].rstrip("/")
    return ""


def route_to(url):
    """Our address on the way to the server, or "" while there is no way. Sends nothing: a UDP connect only looks."""
    parts = urlsplit(url)
    families = (socket.AF_INET6,) if ":" in (parts.hostname or "") else (socket.AF_INET, socket.AF_INET6)
    for family in families:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((parts.hostname, parts.port or 80))
                address = str(probe.getsockname()[0])
        except OSError:
            continue
        # A link-local address is there before DHCPv6 has given one.
        if not address.startswith("fe80:"):
            return address
    return ""


def describe_links(folder=Path("/sys/class/net")):
    """One phrase on every network link, for someone who stands before a machine that gets no address."""
    phrases = []
    for link in sorted(folder.iterdir()):
        if not (link / "device").exists():
            continue
        try:
            carrier = (link / "carrier").read_text().strip() == "1"
        except OSError:
            carrier = False
        mac = (link / "address").read_text().strip()
        phrases.append(f"{link.name} ({mac}) {'has carrier' if carrier else 'has no carrier'}")
    return ", ".join(phrases) or "no network link found; is its driver in the image?"


def wait_for_route(url):
    """Block until a link has an address from which the server can be reached; returns that address."""
    said = time.monotonic()
    while not (address := route_to(url)):
        if time.monotonic() - said >= MESSAGE_EVERY_SECONDS:
            said = time.monotonic()
            say(f"no address from DHCP yet: {describe_links()}")
        time.sleep(ROUTE_POLL_SECONDS)
    return address


def resolver_lines(state):
    """resolv.conf for the name servers and domains that networkd learned by DHCP (its state file's text)."""
    values = dict(line.split("=", 1) for line in state.splitlines() if "=" in line)
    lines = [f"nameserver {server}" for server in values.get("DNS", "").split()]
    if domains := values.get("DOMAINS"):
        lines.append(f"search {domains}")
    return lines


def write_resolver():
    """Give the C library the name servers of the DHCP lease; without one, names stay unknown."""
    try:
        lines = resolver_lines(NETWORKD_STATE.read_text())
    except FileNotFoundError:
        return
    RESOLVER.write_text("".join(f"{line}\n" for line in lines))


def fetch(url):
    """The agent's bytes. OSError when the server is away, says no, or the answer is not a whole ZIP file."""
    with urlopen(url, timeout=HTTP_TIMEOUT_SECONDS) as answer:
        content = answer.read()
        expected = answer.headers.get("Content-Length")
    if expected is not None and len(content) != int(expected):
        raise OSError(f"got {len(content)} of {expected} bytes")
    if ZIP_END not in content:
        raise OSError(f"got {len(content)} bytes that are not a whole agent")
    return content


def fetch_for_ever(url):
    """The agent's bytes, however long the server takes; the pauses grow and differ from machine to machine."""
    pause = 1.0
    while True:
        try:
            return fetch(url)
        # An answer cut short is an HTTPException; http.client makes it no OSError.
        except (OSError, URLError, ValueError, HTTPException) as error:
            say(f"cannot get {url}: {error}; trying again")
        time.sleep(pause * random.uniform(0.5, 1.0))
        pause = min(pause * 2, LONGEST_PAUSE_SECONDS)


def main():
    """Become the agent; ends only when there is no server to ask, with the exit code for that."""
    url = server_url(Path("/proc/cmdline").read_text())
    if not url:
        say("no provisioner.url on the kernel command line: nobody to ask for work. Boot this machine by the server.")
        sys.exit(os.EX_CONFIG)
    address = wait_for_route(url)
    say(f"address {address}; getting the agent from {url}")
    write_resolver()
    content = fetch_for_ever(f"{url}/agent.pyz")
    AGENT.write_bytes(content)
    os.spawnlp(os.P_WAIT, "udevadm", "udevadm", "settle", f"--timeout={SETTLE_SECONDS}")
    os.execv("/usr/bin/python3", ["python3", str(AGENT), "start"])


if __name__ == "__main__":
    main()
