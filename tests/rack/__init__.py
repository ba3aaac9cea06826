"""The virtual rack: machines as QEMU processes with real firmware, each with a real IPMI BMC.

    rack        what tests and the demo use: `Rack`, `RackMachine`
    machine     what a machine is, and the QEMU command line that follows from it
    bmc         how OpenIPMI's `ipmi_sim` is told to be the BMC of one machine
    network     the network namespace, its bridge and taps, and who owns it
    supervisor  the process that owns all of it, so that nothing outlives a rack
    chassis     one machine's power button: starts, stops and resets QEMU, chooses the boot order
    qmp         the few words of QEMU's monitor protocol that a chassis needs
    control     the words a rack, a BMC and the supervisor exchange
    processes   starts and ends child processes
    router      answers the IPv6 router solicitations of iPXE, which waits for it
    hook        the program that `ipmi_sim` runs to switch power and read its LAN settings
    handover    gives a process sockets that were bound elsewhere (systemd's convention)
    programs    which programs the rack needs, and where they come from

`python -m tests.rack` is the command line. The server under test knows nothing of the rack.
"""
