"""The provisioning server, floor by floor; a module imports only from lower floors (tests/test_floors.py).

0 name: errors, model, events. 1 think: lifecycle, plan, access, identity, leases, params, netboot, wire.
2 touch: config, shipped, packs, store, bus, power. 3 decide: conductor. 4 talk: services. 5 start: server, cli.
"""

from provisioner.compiled import prefer

prefer()
