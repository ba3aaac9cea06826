"""The agent: what runs on a machine. Standard library and Jinja2 only; it imports nothing from the server.

    __main__      argv; performs what the loop decided: rebooting, powering off, exiting
    build         makes the zipapp
    service       `start` and `run`: from a boot to a session
    registration  from a ticket to a token
    session       performs the loop's actions through the client and the runner
    loop          the pure table: (standing, reply) -> (standing, action)
    runner        one task from work order to ending
    script        one script from start to exit, with timeout and cancellation
    logs          a job's log on its way to the server, by byte offset
    spool         bytes written and not yet acknowledged
    interrupt     a reason to stop what is running
    heartbeat     tells the server that a job is alive and hears of cancellation
    helpers       commands and shell functions for scripts, as files
    param         `param`: what those commands do
    inventory     what the machine is made of; hardware, dmi, network, lldp and bmc read the parts
    identity      the numbers by which a machine is known again
    power         rebooting and powering off
    client        requests with retries
    transport     one HTTP request over a socket
    protocol      requests and replies as values
    config        agent.json
    cmdline       the kernel command line
    render        the template dialect that server and agent share
    exits         exit codes
    backoff       pauses between tries
    clock         time, as an argument
    errors        what can go wrong
    version       the version

A module may import those listed below it.
"""
