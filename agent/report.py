"""The verb `inventory`: print what the machine is made of, or send it to the server."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from json import dumps

from .clock import SystemClock
from .host import network_cards
from .interrupt import Interrupt
from .inventory import collect, hear_neighbours
from .param import client_from
from .protocol import put_inventory


def main(words: Sequence[str]) -> int:
    """`inventory [--upload] [--lldp-seconds N]`."""
    parser = ArgumentParser(prog="agent.pyz inventory", description="what this machine is made of")
    parser.add_argument("--upload", action="store_true", help="send it to the server instead of printing it")
    parser.add_argument("--lldp-seconds", type=float, default=0.0, help="listen for switches (they speak every 30 s)")
    parser.add_argument("--root", default="/", help="where the /sys and /proc trees are")
    chosen = parser.parse_args(words)
    heard = hear_neighbours(network_cards(chosen.root), chosen.lldp_seconds, SystemClock(Interrupt()))
    inventory = collect(chosen.root, lldp=heard)
    if not chosen.upload:
        print(dumps(inventory, indent=2, sort_keys=True))
        return 0
    client, machine = client_from(os.environ)
    client.call(put_inventory(machine, inventory))
    print(summary(inventory), file=sys.stdout)
    return 0


def summary(inventory: dict[str, object]) -> str:
    """One line for a job's log."""
    counts = {name: len(inventory[name]) for name in ("disks", "nics", "pci")}  # type: ignore[arg-type]
    return "inventory sent: " + ", ".join(f"{count} {name}" for name, count in counts.items())
